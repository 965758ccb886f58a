# The wrappers of a model's function, `track_metric` for its prediction, and the files of a run.
#
# In a replica a call of a wrapped function belongs to the current prediction, whose metrics (its
# page) are sent with the answer. Elsewhere (a session, a script, the top level of a model's file) it
# is a trial: the page goes into this process's memory, where the functions with `dev = TRUE` find it.

# `predict <- cml_model(function(args) ...)` leaves the function as it is. With `metrics = TRUE`, also
# as `cml_model(metrics = TRUE)(function(args) ...)`, it is `model_metrics`.
cml_model <- function(fn = NULL, metrics = FALSE) {
    if (is.null(fn))
        return(function(fn) cml_model(fn, metrics))
    fn <- match.fun(fn)
    if (isTRUE(metrics)) model_metrics(fn) else fn
}

# A function that keeps what `track_metric` is told in each call of `fn`, and returns the list
# (model_deployment_crn, prediction, uuid). By `uuid` `track_delayed_metrics` can add to this
# prediction later, when the truth is known.
model_metrics <- function(fn) {
    fn <- match.fun(fn)
    function(...) {
        page <- .enter_page()
        done <- FALSE
        on.exit(.leave_page(page, done))
        prediction <- fn(...)
        done <- TRUE
        crn <- if (book$serves) book$crns$deployment else dev_model_deployment_crn
        list(model_deployment_crn = crn, prediction = prediction, uuid = page$uuid)
    }
}

# Keeps a value with the current prediction, or with the run of an experiment. A second value of a
# key replaces the first. In an experiment it is a single value. Elsewhere this does nothing.
track_metric <- function(key, value) {
    page <- if (book$asked) book$page else book$trial
    if (!is.null(page))
        track(page, .key(key), value)
    else if (is_run())
        track_run_metric(.key(key), value)
    invisible()
}

# The error of a request that its caller has to correct: status 400 with this text. Any other error
# is a failure of the model: status 500, and the replica is replaced.
invalid_request <- function(message)
    stop(structure(
        class = c("InvalidRequest", "error", "condition"),
        list(message = as.character(message), call = NULL)
    ))

.key <- function(key) {
    if (!is.character(key) || length(key) != 1L || is.na(key))
        stop("track_metric: the key is no text", call. = FALSE)
    as_utf8(key)
}

.enter_page <- function() {
    place <- if (book$asked) "page" else "trial"
    if (is.null(book[[place]]))
        book[[place]] <- open_page()
    page <- book[[place]]
    page$depth <- page$depth + 1L
    page
}

.leave_page <- function(page, done) {
    page$depth <- page$depth - 1L
    close_page(page)
    if (page$depth || !identical(page, book$trial))
        return()
    book$trial <- NULL
    # A trial in a model's own file is not a session.
    if (done && !book$serves)
        keep_row(jsonlite::parse_json(page_body(page)))
}
