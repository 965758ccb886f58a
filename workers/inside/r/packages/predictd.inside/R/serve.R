# The life of a replica: say hello, load the model, then answer one prediction after the other.
#
#     -> HELLO    <- START    -> READY | FAILED, exit 1
#                 <- PREDICT  -> [TRACKED] ANSWER | RAISED | REFUSED     again and again
#                 end of pipe: exit as by quit(): `.Last`, then finalizers that run at the exit
#
# Each prediction is answered exactly once or the process ends. Errors are the function's answer;
# `quit()`, interrupts and the restart "abort" end the process as they end any script of R.

.PROTOCOL <- 1L

# Serves one model by the wire on these two descriptors until the gateway closes it.
serve <- function(descriptors, packages) {
    .find_packages(packages)
    open_wire(descriptors)
    # At once, as they happen: R itself keeps them until it is back at its prompt, which is never.
    options(warn = 1L)
    send(frame(.HELLO, .NO_ID, .hello()))
    start <- .expect(receive(), .START)
    if (is.null(start))
        quit("no", 0L)
    start <- jsonlite::parse_json(.text_of(start$body))
    book$serves <- TRUE
    book$crns <- start$crns
    the_function <- .load(start)
    # A file may set the option for itself; then uncaught errors end the process as it says.
    if (is.null(getOption("error")))
        options(error = .uncaught, showErrorCalls = FALSE)
    answer(the_function, start)
    quit("no", 0L)
}

# R calls this for an error that no handler sees: that of stop() with a condition which is no error.
# Then it ends the process.
.uncaught <- function() {
    if (!isTRUE(book$asked) || Sys.getpid() != wire$pid)
        return()
    message <- sub("\n$", "", sub("^Error( in .*?)? : |^Error: ", "", geterrmessage(), perl = TRUE))
    send(frame(.RAISED, book$id, encode(describe(simpleError(message)))))
}

# Packages of the build come first, then ours. A project's `.Renviron` may name other libraries in
# the variables that say so at the start.
.find_packages <- function(packages) {
    named <- strsplit(Sys.getenv(c("R_LIBS", "R_LIBS_USER")), ":", fixed = TRUE)
    .libPaths(c(file.path(Sys.getenv("VIRTUAL_ENV"), "library"), unlist(named), packages))
}

.text_of <- function(body) {
    text <- rawToChar(body)
    Encoding(text) <- "UTF-8"
    text
}

.hello <- function() {
    version <- paste(R.version$major, R.version$minor, sep = ".")
    sprintf(
        "{\"protocol\":%d,\"language\":\"r\",\"version\":\"%s\",\"pid\":%d}", .PROTOCOL, version,
        Sys.getpid()
    )
}

# The model's function. On failure it sends the reason and ends the process.
.load <- function(start) {
    log_line("Start Model initialization")
    began <- proc.time()[[3L]]
    # Where the file ends R, the finalizer says so.
    loading <- new.env(parent = emptyenv())
    loading$ends <- TRUE
    reg.finalizer(loading, function(each) if (each$ends) .quit_while_loading(), onexit = TRUE)
    calls <- list()
    found <- tryCatch(
        withCallingHandlers(
            load_model(start$root, start$file, start[["function"]]),
            error = function(problem) calls <<- .their_calls("source")
        ),
        error = function(problem) problem
    )
    if (inherits(found, "condition")) {
        loading$ends <- FALSE
        .fail(found, calls)
    }
    loading$ends <- FALSE
    log_line("Finish Model initialization")
    say("Model ready")
    send(frame(.READY, .NO_ID, sprintf("{\"seconds\":%.6f}", proc.time()[[3L]] - began)))
    found
}

.fail <- function(problem, calls) {
    trace <- trace_text(problem, calls)
    complain(trace)
    send(frame(.FAILED, .NO_ID, encode(c(describe(problem), list(traceback = trace)))))
    quit("no", 1L)
}

.quit_while_loading <- function() {
    told <- list(
        type = "quit", message = "the file ended R, as quit() does, while it was loaded",
        traceback = "quit()\n"
    )
    send(frame(.FAILED, .NO_ID, encode(told)))
}

# Answers predictions until the pipe is closed.
#
# Handlers cost more than a quick prediction, so they are set up once for all predictions up to the
# next error. `now$doing` then says whose the error is.
answer <- function(the_function, start) {
    now <- new.env(parent = emptyenv())
    now$prefix <- start$request_prefix
    now$most <- start$max_response_size
    now$formals <- names(formals(the_function))
    read <- if (isTRUE(start$raw)) identity else decode
    .call_model <- .by_name(the_function, start[["function"]])
    repeat {
        reply <- tryCatch(
            withCallingHandlers(
                .answer_all(read, .call_model, now),
                error = function(problem) if (now$doing == "call") now$calls <- .their_calls(".call_model")
            ),
            error = function(problem) .reply_to_error(problem, now),
            interrupt = function(problem) {
                complain("interrupted\n")
                quit("no", 1L)
            }
        )
        if (is.null(reply))
            return()
        .finish(reply, now$id)
    }
}

# Answers predictions until the pipe is closed, then returns NULL.
.answer_all <- function(read, .call_model, now) {
    repeat {
        now$doing <- "receive"
        asked <- receive()
        if (is.null(asked))
            return(NULL)
        if (asked$kind != .PREDICT)
            .expect(asked, .PREDICT)
        id <- now$id <- book$id <- asked$id
        now$doing <- "read"
        argument <- read(asked$body)
        now$doing <- "call"
        book$asked <- TRUE
        now$value <- value <- .call_model(argument)
        now$doing <- "encode"
        text <- encode_fast(value)
        if (nchar(text, "bytes") > now$most)
            stop(sprintf(
                "the answer is %d bytes long as JSON; at most %.0f are allowed",
                nchar(text, "bytes"), now$most
            ), call. = FALSE)
        now$doing <- "send"
        .finish(frame(.ANSWER, id, text), id)
    }
}

# Sends what answers a prediction, with its metrics if there are any.
.finish <- function(reply, id) {
    # A process that the function forked, and that came back here.
    if (Sys.getpid() != wire$pid)
        asNamespace("parallel")$mcexit()
    book$asked <- FALSE
    page <- book$page
    if (!is.null(page)) {
        book$page <- NULL
        if (reply[[5L]] == .ANSWER)
            reply <- c(frame(.TRACKED, id, page_body(page)), reply)
    }
    send(reply)
}

# The frame that answers a prediction in which there was an error.
.reply_to_error <- function(problem, now) {
    switch(now$doing,
        read = return(frame(.REFUSED, now$id, .message(problem))),
        # The pipe to the gateway has no reader any more.
        send = quit("no", 0L),
        receive = {
            complain(paste0("Error: ", conditionMessage(problem), "\n"))
            quit("no", 1L)
        }
    )
    if (inherits(problem, "InvalidRequest") && now$doing == "call")
        return(frame(.REFUSED, now$id, .message(problem)))
    calls <- now$calls
    now$calls <- NULL
    if (now$doing == "call")
        problem <- .with_request(problem, now$formals)
    if (now$doing == "encode" && !startsWith(conditionMessage(problem), "the answer is "))
        problem <- simpleError(not_encoded(now$value, problem))
    trace <- trace_text(problem, calls)
    # As `gateway/request_lines.py` reads it.
    about <- sprintf(
        "[predictd] request %s%s failed, %d lines:", now$prefix,
        sub("^0{1,4}", "", paste(rev(now$id), collapse = "")), nchar(gsub("[^\n]", "", trace))
    )
    complain(paste0(about, "\n", trace))
    frame(.RAISED, now$id, encode(describe(problem)))
}

# The error of a function that takes the fields of a request as arguments, as one of plumber does,
# with what it gets instead.
.with_request <- function(problem, formals) {
    pattern <- "^argument \"([^\"]+)\" is missing, with no default$"
    message <- conditionMessage(problem)
    if (!grepl(pattern, message) || !sub(pattern, "\\1", message) %in% formals[-1L])
        return(problem)
    problem$message <- sprintf(
        "%s (the function is called with one argument, the request: take '%s' from it)", message,
        sub(pattern, "\\1", message)
    )
    problem
}

# A function that calls the model's by its own name, which errors and tracebacks then have.
.by_name <- function(the_function, name) {
    around <- new.env(parent = baseenv())
    around[[name]] <- the_function
    compiler::cmpfun(
        eval(call("function", as.pairlist(alist(args = )), call(name, quote(args))), around)
    )
}

.message <- function(problem) encode(describe(problem)["message"])

# The calls of the model's own at this moment: those after the last one of ours, a call of `ours`,
# without the two by which R calls the handler.
.their_calls <- function(ours) {
    calls <- sys.calls()
    calls <- calls[seq_len(length(calls) - 3L)]
    last <- which(vapply(calls, function(call) identical(call[[1L]], as.name(ours)), NA))
    calls[seq_along(calls) > (if (length(last)) last[[length(last)]] else 0L)]
}

.expect <- function(frame, kind) {
    if (!is.null(frame) && frame$kind != kind)
        stop(sprintf("the gateway sent a frame of kind %d where %d was due", frame$kind, kind), call. = FALSE)
    frame
}
