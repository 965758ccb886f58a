# Metrics of past predictions: reads them, and adds to them when the truth is known.
#
# With `dev = TRUE` the functions use this session's memory, else the gateway, which stores the
# metrics of all models.

dev_model_crn <- "crn:cdp:ml:::workspace:dev/model"
dev_model_build_crn <- "crn:cdp:ml:::workspace:dev/model-build"
dev_model_deployment_crn <- "crn:cdp:ml:::workspace:dev/model-deployment"
dev_model_deploy_crn <- dev_model_deployment_crn

.PAGE <- 10000 # the most rows of one answer of the gateway
.FIELDS <- c(
    model_deployment_crn = "modelDeploymentCrn", model_build_crn = "modelBuildCrn",
    model_crn = "modelCrn"
)

session <- new.env(parent = emptyenv())
session$rows <- list()

# The metrics of a deployment, of a build or of a model, as list(metrics = list(row, ...)).
#
# Name at least one of the three by its crn; with several, rows must belong to all. The window takes
# the rows that begin in it, both ends included. Rows are sorted by their beginning: modelDeploymentCrn,
# modelBuildCrn, modelCrn, startTimeStampMs, endTimeStampMs, predictionUuid, metrics.
read_metrics <- function(model_deployment_crn = NULL, start_timestamp_ms = NULL,
                         end_timestamp_ms = NULL, model_crn = NULL, model_build_crn = NULL,
                         dev = FALSE) {
    given <- Filter(Negate(is.null), list(
        model_deployment_crn = model_deployment_crn, model_build_crn = model_build_crn,
        model_crn = model_crn
    ))
    if (!length(given))
        stop("read_metrics: give one of ", paste(names(.FIELDS), collapse = ", "), call. = FALSE)
    if (isTRUE(dev)) {
        begun <- vapply(session$rows, function(row) row$startTimeStampMs, 0)
        rows <- session$rows[
            begun >= c(start_timestamp_ms, -Inf)[[1L]] & begun <= c(end_timestamp_ms, Inf)[[1L]]
        ]
        rows <- rows[order(vapply(rows, function(row) row$startTimeStampMs, 0))]
    } else {
        rows <- .read_pages(c(given[1L], list(
            start_timestamp_ms = .ms(start_timestamp_ms), end_timestamp_ms = .ms(end_timestamp_ms),
            page_size = .ms(.PAGE)
        )))
    }
    for (name in names(given))
        rows <- Filter(function(row) identical(row[[.FIELDS[[name]]]], given[[name]]), rows)
    list(metrics = rows)
}

# Adds metrics to a past prediction: the truth, say, when it is known. `prediction_uuid` is the uuid
# in the result of the wrapped function. A key that exists already gets the new value.
track_delayed_metrics <- function(metrics, prediction_uuid, dev = FALSE) {
    text <- .metrics_text("track_delayed_metrics", metrics)
    if (!isTRUE(dev)) {
        body <- paste0("{\"prediction_uuid\":", quoted(prediction_uuid), ",\"metrics\":", text, "}")
        ask_gateway("POST", "/api/v2/metrics/delayed", body)
        return(invisible())
    }
    for (each in seq_along(session$rows)) {
        row <- session$rows[[each]]
        if (nzchar(prediction_uuid) && row$predictionUuid == prediction_uuid) {
            session$rows[[each]]$metrics <- utils::modifyList(row$metrics, jsonlite::parse_json(text))
            return(invisible())
        }
    }
    stop(sprintf("no prediction of this session has the uuid '%s'", prediction_uuid), call. = FALSE)
}

# Stores metrics of a deployment over a window of time, such as its accuracy over a day. The default
# end is now; the default beginning is the end.
track_aggregate_metrics <- function(metrics, start_timestamp_ms = NULL, end_timestamp_ms = NULL,
                                    model_deployment_crn = NULL, dev = FALSE) {
    text <- .metrics_text("track_aggregate_metrics", metrics)
    end <- if (is.null(end_timestamp_ms)) now_ms() else as.numeric(end_timestamp_ms)
    start <- if (is.null(start_timestamp_ms)) end else as.numeric(start_timestamp_ms)
    if (start > end)
        stop(sprintf("track_aggregate_metrics: the window begins at %.0f, after %.0f", start, end), call. = FALSE)
    if (isTRUE(dev)) {
        keep_row(list(
            predictionUuid = "", startTimeStampMs = start, endTimeStampMs = end,
            metrics = jsonlite::parse_json(text)
        ))
        return(invisible())
    }
    if (is.null(model_deployment_crn))
        stop("track_aggregate_metrics: give model_deployment_crn, or dev = TRUE", call. = FALSE)
    body <- sprintf(
        "{\"metrics\":%s,\"start_timestamp_ms\":%s,\"end_timestamp_ms\":%s,\"model_deployment_crn\":%s}",
        text, .ms(start), .ms(end), quoted(model_deployment_crn)
    )
    ask_gateway("POST", "/api/v2/metrics/aggregate", body)
    invisible()
}

# Adds a row to this session's memory.
keep_row <- function(row) {
    crns <- list(dev_model_deployment_crn, dev_model_build_crn, dev_model_crn)
    names(crns) <- .FIELDS
    session$rows <- c(session$rows, list(c(crns, row)))
}

.read_pages <- function(query) {
    rows <- list()
    repeat {
        given <- Filter(Negate(is.null), query)
        asked <- paste0(names(given), "=", vapply(given, utils::URLencode, "", reserved = TRUE))
        page <- ask_gateway("GET", paste0("/api/v2/metrics?", paste(asked, collapse = "&")))
        rows <- c(rows, page$metrics)
        if (is.null(page$next_page_token) || !nzchar(page$next_page_token))
            return(rows)
        query$page_token <- page$next_page_token
    }
}

.metrics_text <- function(name, metrics) {
    if (!is.list(metrics) || is.null(names(metrics)))
        stop(name, ": metrics are no list with names", call. = FALSE)
    tryCatch(encode(metrics), error = function(problem)
        stop(name, ": ", conditionMessage(problem), call. = FALSE))
}

.ms <- function(moment) if (!is.null(moment)) sprintf("%.0f", floor(as.numeric(moment)))
