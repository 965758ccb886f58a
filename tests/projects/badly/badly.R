# A model that misbehaves exactly as it is told: {"do": "raise"}, and so on.

`%or%` <- function(value, default) if (is.null(value)) default else value

# An error with the name that Python's has.
value_error <- function(text)
    stop(structure(class = c("ValueError", "error", "condition"), list(message = text, call = NULL)))

DEEDS <- list(
    raise = function(args) value_error(args$text %or% "as told"),
    invalid = function(args) cdsw::invalid_request(args$text %or% "as told"),
    exit = function(args) quit("no", args$status %or% 3L),
    os_exit = function(args) quit("no", args$status %or% 4L, runLast = FALSE),
    segfault = function(args) tools::pskill(Sys.getpid(), 11L),
    # Freeze as a whole; only SIGCONT or SIGKILL end it.
    stop = function(args) tools::pskill(Sys.getpid(), tools::SIGSTOP),
    hang = function(args) repeat Sys.sleep(3600),
    # R waits in C, where it looks at nothing.
    hang_in_c = function(args) system("sleep 3600"),
    flood = function(args) {
        line <- paste0(strrep("x", 1023), "\n")
        for (each in seq_len(args$kilobytes %or% 20000L))
            cat(line)
        "flooded"
    },
    # Write what is no frame to all that is open for writing, the wire included.
    junk = function(args) {
        for (each in setdiff(list.files("/proc/self/fd"), as.character(0:2)))
            try(silent = TRUE, {
                flags <- grep("^flags:", readLines(file.path("/proc/self/fdinfo", each)), value = TRUE)
                if (grepl("0$", flags))
                    next
                open <- file(file.path("/proc/self/fd", each), "ab", raw = TRUE)
                writeBin(rep(as.raw(255L), 64L), open)
                close(open)
            })
        "littered"
    },
    unencodable = function(args) list(fine = 1, not = list(sum)),
    nan = function(args) c(NaN, Inf, 1.5),
    big = function(args) strrep("x", args$bytes),
    memory = function(args) {
        hoard <- raw(args$bytes)
        hoard[[1]] <- as.raw(1L)
        length(hoard)
    },
    sleep = function(args) {
        Sys.sleep(args$seconds)
        args$seconds
    },
    echo = function(args) args,
    # Leave a child that a SIGTERM does not end; its pid.
    fork = function(args) {
        asleep <- sprintf("trap '' TERM; sleep %d", args$seconds %or% 3600L)
        command <- sprintf("setsid sh -c %s >/dev/null 2>&1 & echo $!", shQuote(asleep))
        as.integer(system(command, intern = TRUE))
    },
    # Print without ending the line.
    stdout = function(args) {
        cat(args$text)
        NULL
    },
    stderr = function(args) {
        cat(args$text, file = stderr())
        NULL
    }
)

behave <- function(args) DEEDS[[args$do]](args)
