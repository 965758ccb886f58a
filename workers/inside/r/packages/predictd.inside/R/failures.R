# Describes the model's errors, in the model's own terms and in bounded length.

.LONGEST_NAME <- 500L
.LONGEST_MESSAGE <- 8000L # characters; it travels in a reply to a caller
.LONGEST_TRACE <- 32000L # characters; it is kept with the deployment
.MOST_CALLS <- 50L

# The type and text of a condition, ready to be sent.
describe <- function(problem) {
    message <- tryCatch(
        .hinted(.cut(as_utf8(paste(conditionMessage(problem), collapse = "\n")), .LONGEST_MESSAGE)),
        error = function(e) "(no text: its conditionMessage raised an error)"
    )
    list(type = substr(as_utf8(class(problem)[[1L]]), 1L, .LONGEST_NAME), message = message)
}

# The next step, where R's text does not say it: a model may listen on a TCP port by number, as a
# cluster of sockets does, only with `network: listen`.
.hinted <- function(text) {
    if (!grepl("creation of server socket failed", text, fixed = TRUE))
        return(text)
    paste(text, "(it may listen on TCP ports by `--network listen`; parallel::mclapply needs none)")
}

.cut <- function(text, most) {
    size <- nchar(text)
    if (size <= most) text else sprintf("%s... (%d characters)", substr(text, 1L, most), size)
}

# A condition as R prints it, and the calls that led to it, the innermost first, as `traceback()`
# prints them. `calls` are the model's own.
trace_text <- function(problem, calls) {
    call <- conditionCall(problem)
    message <- describe(problem)$message
    head <- if (is.null(call)) paste0("Error: ", message)
            else paste0("Error in ", .line(call), " : ", message)
    numbers <- rev(seq_along(calls))
    lines <- sprintf("%4d: %s", numbers, vapply(rev(calls), .place, ""))
    if (length(lines) > .MOST_CALLS)
        lines <- c(lines[seq_len(.MOST_CALLS)], sprintf("      ... and %d more", length(lines) - .MOST_CALLS))
    text <- paste0(paste(c(head, lines), collapse = "\n"), "\n")
    if (nchar(text) <= .LONGEST_TRACE) text else paste0(substr(text, 1L, .LONGEST_TRACE), "...\n")
}

# A call in one line.
.line <- function(call) {
    text <- tryCatch(deparse(call, nlines = 2L), error = function(e) "(a call)")
    text <- if (length(text) > 1L) paste(text[[1L]], "...") else text
    as_utf8(if (nchar(text) > 120L) paste(substr(text, 1L, 120L), "...") else text)
}

# A call in one line with the line of the file that makes it, where R knows it.
.place <- function(call) {
    source <- attr(call, "srcref")
    if (is.null(source))
        return(.line(call))
    file <- attr(source, "srcfile")$filename
    paste0(.line(call), " at ", as_utf8(basename(file)), "#", source[[1L]])
}
