# Text as JSON: in ASCII, so that no locale can change it on its way.

# Text of any encoding in UTF-8: what is marked as latin1 is converted, and bytes that are
# no UTF-8 are shown as `<e9>`.
as_utf8 <- function(text) {
    right <- validEnc(text)
    text[right] <- enc2utf8(text[right])
    if (!all(right))
        text[!right] <- iconv(text[!right], "UTF-8", "UTF-8", sub = "byte")
    text
}

# Each text as a JSON string. Stops for bytes that are not text.
quoted <- function(text) {
    if (!length(text))
        return(character())
    odd <- which(grepl(.SPECIAL, text, perl = TRUE, useBytes = TRUE))
    if (length(odd))
        text[odd] <- .escaped(text[odd])
    paste0("\"", text, "\"")
}

.SPECIAL <- "[\"\\\\\\x01-\\x1f\\x80-\\xff]"

.escaped <- function(text) {
    bad <- !validEnc(text)
    if (any(bad))
        stop(
            "text that is not UTF-8 (", as_utf8(text[bad][[1L]]),
            ") cannot be said in JSON: convert it with iconv(), or mark it with Encoding()"
        )
    text <- enc2utf8(text)
    text <- gsub("\\", "\\\\", text, fixed = TRUE)
    text <- gsub("\"", "\\\"", text, fixed = TRUE)
    if (any(grepl("[\\x01-\\x1f]", text, perl = TRUE, useBytes = TRUE)))
        for (each in seq_along(.CONTROLS))
            text <- gsub(.CONTROLS[[each]], .CONTROL_ESCAPES[[each]], text, fixed = TRUE)
    wide <- which(grepl("[\\x80-\\xff]", text, perl = TRUE, useBytes = TRUE))
    if (length(wide))
        text[wide] <- vapply(text[wide], .ascii, "", USE.NAMES = FALSE)
    text
}

.CONTROLS <- vapply(1:31, intToUtf8, "")
.CONTROL_ESCAPES <- sprintf("\\u%04x", 1:31)
.CONTROL_ESCAPES[c(8L, 9L, 10L, 12L, 13L)] <- c("\\b", "\\t", "\\n", "\\f", "\\r")

# One text with \uXXXX for all that is not ASCII, in pairs beyond the first 65536 characters.
.ascii <- function(text) {
    codes <- utf8ToInt(text)
    wide <- codes > 127L
    pieces <- character(length(codes))
    pieces[!wide] <- strsplit(intToUtf8(codes[!wide]), "", fixed = TRUE)[[1L]]
    codes <- codes[wide]
    far <- codes > 65535L
    escapes <- sprintf("\\u%04x", codes)
    beyond <- codes[far] - 65536L
    escapes[far] <- sprintf(
        "\\u%04x\\u%04x", 55296L + beyond %/% 1024L, 56320L + beyond %% 1024L
    )
    pieces[wide] <- escapes
    paste(pieces, collapse = "")
}
