# Talks to the gateway: one request, one answer, errors with the gateway's own message.
#
# The environment has its address and the key: CDSW_API_URL, and CDSW_APIV2_KEY or CDSW_API_KEY.
# Nothing is retried: the caller decides what to do about a refusal. Base R has a client of sockets
# and none of HTTP that sends a body; for https the package curl is needed.

.SECONDS <- 600L

# Calls a deployed model and returns the whole answer as a list; `response` is its function's result.
#
# `model_access_key` names the model; `ipt` is the argument of its function. `api_key`, for models
# with authentication, is a model API key or an API key; the default is the environment's.
call_model <- function(model_access_key, ipt, api_key = NULL) {
    body <- paste0("{\"accessKey\":", quoted(model_access_key), ",\"request\":", encode(ipt), "}")
    ask_gateway("POST", "/model", body, api_key, simplify = TRUE)
}

# The sign-in for the older APIs: the API key as user, and an empty password.
get_auth <- function() {
    key <- Sys.getenv("CDSW_API_KEY")
    if (!nzchar(key))
        stop("get_auth: CDSW_API_KEY is not set; give it an API key of yours", call. = FALSE)
    list(user = key, password = "")
}

# The gateway's answer, decoded. Stops where the status is not 200.
ask_gateway <- function(method, target, body = NULL, key = NULL, simplify = FALSE) {
    origin <- .origin()
    key <- trimws(c(key, Filter(nzchar, Sys.getenv(c("CDSW_APIV2_KEY", "CDSW_API_KEY"))), "")[[1L]])
    headers <- c(
        if (!is.null(body)) c("Content-Type" = "application/json"),
        if (nzchar(key)) c(Authorization = paste("Bearer", key))
    )
    body <- if (is.null(body)) raw() else charToRaw(body)
    ask <- if (origin$scheme == "https") .ask_by_curl else .ask_by_socket
    reply <- tryCatch(
        ask(origin, method, target, headers, body),
        error = function(problem) stop(
            "predictd at ", origin$scheme, "://", origin$host, " did not answer: ",
            conditionMessage(problem), call. = FALSE
        )
    )
    text <- .text_of(reply$body)
    if (reply$status != 200L)
        stop(.refusal(reply$status, text), call. = FALSE)
    jsonlite::parse_json(text, simplifyVector = simplify)
}

.origin <- function() {
    url <- Sys.getenv("CDSW_API_URL")
    if (!nzchar(url))
        stop(
            "CDSW_API_URL is not set: give it the address of predictd",
            " (http://localhost:8080/api/v1, say), or use dev = TRUE where metrics are tried out",
            call. = FALSE
        )
    parts <- regmatches(url, regexec("^(https?)://((\\[[^]]+\\]|[^/:]+)(:([0-9]+))?)(/|$)", url))[[1L]]
    if (!length(parts))
        stop(sprintf("CDSW_API_URL is '%s', which is no address of a server", url), call. = FALSE)
    name <- gsub("^\\[|\\]$", "", parts[[4L]])
    # Names in `.localhost` are this machine, also where its resolver has none.
    name <- if (grepl("[.]localhost$", name, ignore.case = TRUE)) "localhost" else name
    port <- if (nzchar(parts[[6L]])) as.integer(parts[[6L]]) else c(http = 80L, https = 443L)[[parts[[2L]]]]
    list(scheme = parts[[2L]], host = parts[[3L]], name = name, port = port)
}

.ask_by_socket <- function(origin, method, target, headers, body) {
    connection <- suppressWarnings(socketConnection(
        origin$name, origin$port, open = "r+b", blocking = TRUE, timeout = .SECONDS
    ))
    on.exit(close(connection))
    headers <- c(
        Host = origin$host, Connection = "close", headers,
        if (method == "POST") c("Content-Length" = sprintf("%d", length(body)))
    )
    head <- paste0(method, " ", target, " HTTP/1.1\r\n", paste0(names(headers), ": ", headers, "\r\n", collapse = ""), "\r\n")
    writeBin(c(charToRaw(head), body), connection)
    pieces <- list()
    while (length(piece <- readBin(connection, "raw", 65536L)))
        pieces[[length(pieces) + 1L]] <- piece
    .read_reply(do.call(c, pieces))
}

.read_reply <- function(bytes) {
    end <- grepRaw("\r\n\r\n", bytes, fixed = TRUE)
    if (!length(end))
        stop("its answer is no HTTP")
    head <- strsplit(rawToChar(bytes[seq_len(end - 1L)]), "\r\n", fixed = TRUE)[[1L]]
    body <- bytes[-seq_len(end + 3L)]
    if (any(grepl("^transfer-encoding:.*chunked", head, ignore.case = TRUE)))
        body <- .unchunked(body)
    list(status = as.integer(substr(head[[1L]], 10L, 12L)), body = body)
}

.unchunked <- function(bytes) {
    pieces <- list()
    repeat {
        end <- grepRaw("\r\n", bytes, fixed = TRUE)
        size <- if (length(end)) strtoi(sub(";.*", "", rawToChar(bytes[seq_len(end - 1L)])), 16L) else 0L
        if (!size)
            return(as.raw(unlist(pieces)))
        pieces[[length(pieces) + 1L]] <- bytes[end + 1L + seq_len(size)]
        bytes <- bytes[-seq_len(end + 3L + size)]
    }
}

.ask_by_curl <- function(origin, method, target, headers, body) {
    if (!requireNamespace("curl", quietly = TRUE))
        stop("https needs the package curl: install it in the build (r-cran-curl)")
    handle <- curl::new_handle(customrequest = method, timeout = .SECONDS)
    if (method == "POST")
        curl::handle_setopt(handle, postfields = body)
    curl::handle_setheaders(handle, .list = as.list(headers))
    reply <- curl::curl_fetch_memory(paste0("https://", origin$host, target), handle)
    list(status = reply$status_code, body = reply$content)
}

# The message of a refusal, in the format of the API that refused.
.refusal <- function(status, text) {
    said <- tryCatch(jsonlite::parse_json(text), error = function(problem) NULL)
    if (is.null(said$message))
        return(sprintf("HTTP %d: %s", status, substr(as_utf8(text), 1L, 500L)))
    code <- if (is.null(said$errors$code)) "" else paste0(" ", said$errors$code)
    paste0("HTTP ", status, code, ": ", said$message)
}
