# The argument of a prediction, as jsonlite reads it: objects are lists, arrays are vectors, matrices
# or data frames where their elements allow it.

# The value of JSON in bytes. Stops where R cannot hold it.
decode <- function(body) {
    if (!length(body))
        stop("there is no JSON")
    text <- rawToChar(body)
    Encoding(text) <- "UTF-8"
    if (.has(body, .BACKSLASH) && grepl("(?<!\\\\)(\\\\\\\\)*\\\\u0000", text, perl = TRUE))
        stop("text in R cannot have the character U+0000")
    # Without arrays there is nothing to simplify, which is most of the work.
    if (.has(body, .BRACKET)) .parse_json(text, simplifyVector = TRUE) else .parse_json(text)
}

.BACKSLASH <- charToRaw("\\")
.BRACKET <- charToRaw("[")
# `::` takes a microsecond each time.
.parse_json <- jsonlite::parse_json

# The first is quicker for small bodies, the second for large ones.
.has <- function(body, byte) {
    if (length(body) < 4096L) any(body == byte) else length(grepRaw(byte, body, fixed = TRUE)) > 0L
}
