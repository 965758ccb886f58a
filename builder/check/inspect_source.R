# Tells what can be told of a model's file without running it: its syntax, and its function.
#
# The R of the build runs this file, confined like the project's code: a hostile file may end the
# parser or keep it busy. Arguments: the source, its name in messages, the function, the file for the
# answer. Base R and jsonlite.
#
# A function is refused only where every way in which the file binds its name is a definition that
# can never answer. What cannot be told (`source`, `assign`, `load`) passes.

MOST_NAMES <- 50L
LONGEST <- 300L
ASSIGNMENTS <- c("<-", "=", "<<-")
# What may bind a name that is not written beside it.
INDIRECT <- c(
    "source", "sys.source", "assign", "load", "attach", "eval", "evalq", "delayedAssign",
    "makeActiveBinding", "list2env", "do.call", "%<-%"
)

read_text <- function(file) {
    text <- readBin(file, "raw", file.size(file))
    if (any(text == as.raw(0L)))
        stop("it has null bytes", call. = FALSE)
    text <- rawToChar(text)
    Encoding(text) <- if (validUTF8(text)) "UTF-8" else "latin1"
    gsub("\r\n?", "\n", sub("^\ufeff", "", enc2utf8(text)))
}

# Line and reason of a syntax error, of the parser's message in several lines.
syntax_problem <- function(message) {
    place <- regmatches(message, regexec("^<text>:([0-9]+):[0-9]+: ([^\n]*)", message))[[1L]]
    if (length(place)) sprintf("line %s: %s", place[[2L]], place[[3L]]) else message
}

# The name of what is called, "" for what has no name.
name_of <- function(call) {
    called <- call[[1L]]
    if (is.call(called) && length(called) == 3L && is.symbol(called[[3L]])) # package::name
        called <- called[[3L]]
    if (is.symbol(called)) as.character(called) else ""
}

bindings <- list()
functions <- character()
indirect <- FALSE

is_function <- function(value) is.call(value) && identical(value[[1L]], quote(`function`))

# Looks through what the file runs at its top, but not into its functions.
walk <- function(expression, wanted) {
    if (!is.call(expression) || is_function(expression))
        return(invisible())
    called <- name_of(expression)
    if (called %in% INDIRECT)
        indirect <<- TRUE
    if (called %in% ASSIGNMENTS && length(expression) == 3L) {
        target <- expression[[2L]]
        if (is.symbol(target) || is.character(target)) {
            name <- as.character(target)
            if (name == wanted)
                bindings[[length(bindings) + 1L]] <<- expression[[3L]]
            if (is_function(expression[[3L]]))
                functions <<- unique(c(functions, name))
        }
    }
    for (part in as.list(expression)[-1L])
        if (!missing(part))
            walk(part, wanted)
}

# Why a value can never answer, or "".
problem_of <- function(value, name) {
    if (is.symbol(value) || (is.call(value) && !is_function(value)))
        return("")
    if (!is_function(value)) {
        kind <- if (is.null(value)) "NULL" else if (is.numeric(value)) "a number" else
            if (is.character(value)) "a text" else "a constant"
        return(sprintf("'%s' is no function but %s", name, kind))
    }
    if (length(value[[2L]]))
        return("")
    sprintf(paste(
        "%s() is called with one argument, the request, which it does not take:",
        "define it as %s <- function(args)"
    ), name, name)
}

inspect <- function(source, wanted) {
    facts <- list(syntax = "", missing = FALSE, unfit = "", functions = list())
    parsed <- tryCatch(
        parse(text = read_text(source), keep.source = FALSE, encoding = "UTF-8"),
        error = function(error) error
    )
    if (inherits(parsed, "error")) {
        facts$syntax <- substr(syntax_problem(conditionMessage(parsed)), 1L, LONGEST)
        return(facts)
    }
    for (expression in as.list(parsed))
        walk(expression, wanted)
    facts$functions <- as.list(substr(utils::head(functions, MOST_NAMES), 1L, LONGEST))
    if (!indirect) {
        facts$missing <- !length(bindings)
        problems <- vapply(bindings, problem_of, "", name = wanted)
        if (length(problems) && all(nzchar(problems)))
            facts$unfit <- problems[[1L]]
    }
    facts
}

arguments <- commandArgs(trailingOnly = TRUE)
facts <- inspect(arguments[[1L]], arguments[[3L]])
writeLines(jsonlite::toJSON(facts, auto_unbox = TRUE), arguments[[4L]], useBytes = TRUE)
