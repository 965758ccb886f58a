# The few lines that we print among the model's. They never fail.

# Prints a line for the replica's log, on stdout.
say <- function(line) try(cat(line, "\n", sep = "", file = stdout()), silent = TRUE)

# Prints a dated line, in the format that readers of such logs know.
log_line <- function(event) {
    now <- Sys.time()
    say(sprintf(
        "%s,%03d %-7d INFO      Model.Runtime      %s",
        format(now, "%Y-%m-%d %H:%M:%S"), as.integer(as.numeric(now) %% 1 * 1000), Sys.getpid(), event
    ))
}

# Prints text for the author of the model, on stderr.
complain <- function(text) try(cat(text, file = stderr()), silent = TRUE)
