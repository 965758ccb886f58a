# The metrics and files that an experiment's script adds to its run. PREDICTD_RUN_METRICS names the
# file that gets each metric as a line of JSON, CDSW_OUTPUT_DIR the folder of its kept files.

.LONGEST_KEY <- 200L # characters; the gateway ignores longer ones
.LONGEST_LINE <- 8192L # bytes

is_run <- function() nzchar(Sys.getenv("PREDICTD_RUN_METRICS"))

track_run_metric <- function(key, value) {
    text <- metric_text(key, value)
    if (substr(text, 1L, 1L) %in% c("[", "{"))
        stop(sprintf(
            "track_metric(\"%s\"): in an experiment it must be text, a number, TRUE, FALSE or NA", key
        ), call. = FALSE)
    line <- sprintf("{\"key\":%s,\"value\":%s,\"time\":%.0f}\n", quoted(key), text, now_ms())
    if (nchar(key) > .LONGEST_KEY)
        stop(sprintf("track_metric: a key of %d characters is more than %d", nchar(key), .LONGEST_KEY), call. = FALSE)
    if (nchar(line, "bytes") > .LONGEST_LINE)
        stop(sprintf("track_metric(\"%s\"): %d bytes are more than %d", key, nchar(line, "bytes"), .LONGEST_LINE), call. = FALSE)
    # One write, so that the lines of several processes do not mix.
    file <- file(Sys.getenv("PREDICTD_RUN_METRICS"), "ab")
    on.exit(close(file))
    writeBin(charToRaw(line), file)
    invisible()
}

# Keeps a file (or a folder) with the run of an experiment, as it is now, under its name relative to
# the current folder. Outside an experiment this does nothing.
track_file <- function(path) {
    if (!is_run())
        return(invisible())
    source <- normalizePath(path, mustWork = TRUE)
    output <- normalizePath(Sys.getenv("CDSW_OUTPUT_DIR"), mustWork = TRUE)
    here <- paste0(normalizePath("."), "/")
    if (source == output || startsWith(source, paste0(output, "/")))
        return(invisible())
    name <- if (startsWith(source, here)) substring(source, nchar(here) + 1L) else basename(source)
    target <- file.path(output, dirname(name))
    dir.create(target, showWarnings = FALSE, recursive = TRUE)
    if (!all(file.copy(source, target, overwrite = TRUE, recursive = dir.exists(source), copy.date = TRUE)))
        stop(sprintf("track_file: '%s' cannot be copied to '%s'", path, target), call. = FALSE)
    invisible()
}

# Shows HTML in a session of the workbench. There are none here: it is printed.
html <- function(text) {
    cat(as.character(text), "\n", sep = "")
    invisible()
}
