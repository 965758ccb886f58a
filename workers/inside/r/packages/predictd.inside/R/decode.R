# The argument of a prediction, as jsonlite reads it: objects are lists, arrays are vectors, matrices
# or data frames where their elements allow it.

# The value of JSON in bytes. Stops where R cannot hold it.
decode <- function(body) {
    if (!length(body))
        stop("there is no JSON")
    text <- rawToChar(body)
    Encoding(text) <- "UTF-8"
    if (length(grepRaw("\\u0000", body, fixed = TRUE)) &&
        grepl("(?<!\\\\)(\\\\\\\\)*\\\\u0000", text, perl = TRUE))
        stop("text in R cannot have the character U+0000")
    # Without arrays there is nothing to simplify, which is most of the work.
    if (length(grepRaw("[", body, fixed = TRUE)))
        jsonlite::parse_json(text, simplifyVector = TRUE)
    else
        jsonlite::parse_json(text)
}
