# The argument of a prediction, as jsonlite reads it: objects are lists, arrays are vectors, matrices
# or data frames where their elements allow it.
#
# A whole number beyond 2^53 becomes a double, as in jsonlite, and may lose digits: numbers stay
# numbers, and code that computes with them works. That is said once. For ids a model sets
# `options(predictd.bigint_as_char = TRUE)`, and gets such numbers as text.

# The value of JSON in bytes. Stops where R cannot hold it.
decode <- function(body) {
    size <- length(body)
    if (!size)
        stop("there is no JSON")
    text <- rawToChar(body)
    Encoding(text) <- "UTF-8"
    # The first is quicker for small bodies, the second for large ones.
    if (size < 4096L) {
        escapes <- any(body == .BACKSLASH)
        # Without arrays there is nothing to simplify, which is most of the work.
        simplify <- any(body == .BRACKET)
        digits <- size > 15L && sum(body >= .ZERO & body <= .NINE) > 15L
    } else {
        escapes <- length(grepRaw(.BACKSLASH, body, fixed = TRUE)) > 0L
        simplify <- length(grepRaw(.BRACKET, body, fixed = TRUE)) > 0L
        digits <- TRUE
    }
    if (escapes && grepl("(?<!\\\\)(\\\\\\\\)*\\\\u0000", text, perl = TRUE))
        stop("text in R cannot have the character U+0000")
    if (digits && grepl(.BEYOND, if (size < 40L) paste0(" ", text) else text, perl = TRUE, useBytes = TRUE))
        return(.decode_beyond(text, simplify))
    if (simplify) .parse_json(text, simplifyVector = TRUE) else .parse_plain(text, FALSE)
}

.BACKSLASH <- charToRaw("\\")
.BRACKET <- charToRaw("[")
.ZERO <- charToRaw("0")
.NINE <- charToRaw("9")
# A whole number of 17 digits, or of 16 that is near 2^53 or beyond. It may be a part of text. With
# the beginning of the text as an alternative to what stands before it a search takes five times as
# long; only short JSON is nothing but a number.
.BEYOND <- "[\\[:,\\s]-?(?:9[0-9]{15}|[1-9][0-9]{16,})\\s*(?:[,\\]}]|$)"
# `::` takes a microsecond each time.
.parse_json <- jsonlite::parse_json
# What `parse_json` calls in the end, without its steps between, which take longer than the parser.
.parse_plain <- get0("parse_string", asNamespace("jsonlite"), mode = "function")
if (!identical(names(formals(.parse_plain)), c("txt", "bigint_as_char")))
    .parse_plain <- function(txt, bigint_as_char) .parse_json(txt, bigint_as_char = bigint_as_char)

.decode_beyond <- function(text, simplify) {
    as_text <- isTRUE(getOption("predictd.bigint_as_char"))
    if (!as_text && !isTRUE(book$told_beyond) && .has_beyond(text)) {
        book$told_beyond <- TRUE
        complain(paste(
            "[predictd] a request has a whole number beyond 2^53, which may lose digits in R.",
            "Send ids as text, or set options(predictd.bigint_as_char = TRUE) in the model's file.\n"
        ))
    }
    .parse_json(text, simplifyVector = simplify, bigint_as_char = as_text)
}

.has_beyond <- function(text) {
    bare <- gsub("\"(?:[^\"\\\\]|\\\\.)*\"", "", text, perl = TRUE)
    found <- gregexpr("(?<![0-9.])[0-9]{16,}(?![0-9.eE])", bare, perl = TRUE)
    any(as.numeric(regmatches(bare, found)[[1L]]) >= 2^53)
}
