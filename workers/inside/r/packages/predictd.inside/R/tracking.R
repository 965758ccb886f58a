# The metrics of a prediction: values by their keys.
#
# A replica answers one prediction at a time, so at most one page is open. The first call of a
# function of `cml_model(metrics = TRUE)` opens it, and it is sent with the answer. The metrics of a
# failed prediction are dropped.

book <- new.env(parent = emptyenv())
book$serves <- FALSE # whether this process is a replica
book$asked <- FALSE # whether a prediction is being made
book$page <- NULL # that of the current prediction
book$trial <- NULL # that of a call which is no prediction
book$crns <- list()

.MOST_BYTES <- 260000 # of the metrics of one prediction as JSON; the gateway reads no longer frame
.MOST_KEYS <- 1000L
.DEEPEST <- 500L # levels of nesting; the gateway reads twice as many

open_page <- function() {
    page <- new.env(parent = emptyenv())
    page$began <- now_ms()
    page$since <- proc.time()[[3L]]
    page$uuid <- .uuid(page$began)
    page$depth <- 0L
    page$metrics <- character() # `"key":value` by key
    page$bytes <- 0
    page$refused <- 0L
    page
}

now_ms <- function() floor(as.numeric(Sys.time()) * 1000)

close_page <- function(page) {
    # By the duration, since the clock may have been set meanwhile.
    page$ended <- page$began + floor((proc.time()[[3L]] - page$since) * 1000)
}

# Keeps a value. Stops for a value without a JSON form or one that does not fit.
track <- function(page, key, value) {
    pair <- paste0(quoted(key), ":", metric_text(key, value))
    known <- key %in% names(page$metrics)
    if (!known && length(page$metrics) >= .MOST_KEYS) {
        page$refused <- page$refused + 1L
        stop(sprintf(
            "track_metric(\"%s\"): one prediction may have %d keys; track a list instead",
            key, .MOST_KEYS
        ), call. = FALSE)
    }
    size <- page$bytes + nchar(pair, "bytes")
    if (known)
        size <- size - nchar(page$metrics[[key]], "bytes")
    if (size > .MOST_BYTES) {
        page$refused <- page$refused + 1L
        stop(sprintf(
            "track_metric(\"%s\"): what is tracked of one prediction may be %d bytes long as JSON; this would be more",
            key, as.integer(.MOST_BYTES)
        ), call. = FALSE)
    }
    page$bytes <- size
    page$metrics[[key]] <- pair
}

# A value as JSON. Stops with the key in the message.
metric_text <- function(key, value) {
    text <- tryCatch(encode(value), error = function(problem)
        stop(sprintf("track_metric(\"%s\"): %s", key, conditionMessage(problem)), call. = FALSE))
    if (.depth(text) > .DEEPEST)
        stop(sprintf(
            "track_metric(\"%s\"): the value is nested too deep to be kept: more than %d",
            key, .DEEPEST
        ), call. = FALSE)
    text
}

.depth <- function(text) {
    if (nchar(text, "bytes") <= .DEEPEST)
        return(0L)
    bare <- gsub("\"(?:[^\"\\\\]|\\\\.)*\"", "", text, perl = TRUE)
    codes <- utf8ToInt(bare)
    max(0L, cumsum((codes %in% c(91L, 123L)) - (codes %in% c(93L, 125L))))
}

# The body of a TRACKED frame.
page_body <- function(page) {
    sprintf(
        "{\"predictionUuid\":\"%s\",\"startTimeStampMs\":%.0f,\"endTimeStampMs\":%.0f,\"metrics\":{%s}%s}",
        page$uuid, page$began, page$ended, paste(page$metrics, collapse = ","),
        if (page$refused) sprintf(",\"refused\":%d", page$refused) else ""
    )
}

# A uuid (version 7): random, but later ones sort after earlier ones. Not from R's own generator of
# random numbers, whose state is the model's.
.uuid <- function(milliseconds) {
    source <- file("/dev/urandom", "reb", raw = TRUE)
    chance <- paste(readBin(source, "raw", 9L), collapse = "")
    close(source)
    began <- paste(sprintf("%04x", as.integer(milliseconds %/% 65536^(2:0) %% 65536)), collapse = "")
    paste(
        substr(began, 1L, 8L), substr(began, 9L, 12L), paste0("7", substr(chance, 1L, 3L)),
        paste0("8", substr(chance, 4L, 6L)), substr(chance, 7L, 18L), sep = "-"
    )
}
