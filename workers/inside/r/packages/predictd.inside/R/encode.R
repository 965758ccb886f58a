# What a function returned as JSON, in ASCII: as `jsonlite::toJSON(x, auto_unbox = TRUE)` writes it,
# but with all digits of a number, with null for what is missing, and an error for what has no JSON
# form. It is our own since toJSON takes 110 microseconds for one number.

# The JSON text of a value. Stops with a message that says where in the value the trouble is.
encode <- function(value) {
    tryCatch(
        encode_fast(value),
        error = function(problem) stop(not_encoded(value, problem), call. = FALSE)
    )
}

# The same, but the error of a value without a JSON form is to be explained by `not_encoded`.
encode_fast <- function(value) {
    if (is.null(value))
        return("null")
    if (length(value) == 1L && is.null(attributes(value))) {
        if (is.integer(value))
            return(if (is.na(value)) "null" else as.character(value))
        if (is.double(value))
            return(
                if (!is.finite(value)) "null"
                else if (value == trunc(value) && abs(value) < 1e15) sprintf("%.15g", value)
                else .digits(value)
            )
    }
    if (is.object(value) || isS4(value))
        return(.of_class(value))
    if (is.list(value) || is.pairlist(value))
        return(.of_list(value))
    if (!is.atomic(value))
        .refuse(value)
    shape <- dim(value)
    if (!is.null(shape))
        return(.nested(.elements(value), shape))
    if (length(value) == 1L)
        return(.elements(value))
    .array(.elements(value))
}

# Each element of an atomic vector as JSON.
.elements <- function(value) {
    switch(typeof(value),
        double = .numbers(value),
        integer = .or_null(as.character(value)),
        character = .or_null(quoted(value), is.na(value)),
        logical = .or_null(c("false", "true")[as.integer(value) + 1L]),
        complex = .or_null(quoted(as.character(value)), is.na(value)),
        .refuse(value)
    )
}

.or_null <- function(text, missing = is.na(text)) {
    text[missing] <- "null"
    text
}

.numbers <- function(value) {
    value <- as.vector(unclass(value))
    finite <- is.finite(value)
    if (all(finite))
        return(.digits(value))
    text <- rep("null", length(value))
    text[finite] <- .digits(value[finite])
    text
}

# Finite numbers with 15 digits, or with 17 where 15 do not give the same number back.
#
# R's own as.numeric() is at times wrong in the last bit. But a number with k decimals, without an
# exponent, is D / 10^k, where a double has both exactly, so the quotient is right to the last bit.
# D is then the nearest whole number to the value times 10^k. Other numbers are read by jsonlite.
.digits <- function(value) {
    text <- sprintf("%.15g", value)
    size <- abs(value)
    odd <- which(value != trunc(value) | size >= 1e15)
    if (!length(odd))
        return(text)
    size <- size[odd]
    plain <- size >= 1e-4 & size < 1e14
    long <- if (!all(plain)) .changed_by_reading(text, value, odd[!plain])
    odd <- odd[plain]
    short <- text[odd]
    point <- regexpr(".", short, fixed = TRUE)
    decimals <- nchar(short) - point
    decimals[point < 0L] <- 0L
    tens <- .TENS[decimals + 1L]
    given <- value[odd]
    long <- c(long, odd[round(given * tens) / tens != given])
    if (length(long))
        text[long] <- sprintf("%.17g", value[long])
    text
}

.TENS <- 10^(0:22)

# Those of the numbers at these places whose text gives another number back.
.changed_by_reading <- function(text, value, at) {
    long <- integer()
    if (length(at) > .MANY) {
        # Nearly all numbers that were computed need 17 digits, and jsonlite reads them slowly.
        long <- at[as.numeric(text[at]) != value[at]]
        at <- setdiff(at, long)
    }
    again <- unlist(.parse_json(.array(text[at])), use.names = FALSE)
    c(long, at[again != value[at]])
}

.MANY <- 1000L

.array <- function(elements) {
    paste0("[", paste(elements, collapse = ","), "]")
}

# The elements of an array as arrays in arrays, by rows.
.nested <- function(elements, shape) {
    while (length(shape) > 1L) {
        size <- shape[[length(shape)]]
        shape <- shape[-length(shape)]
        count <- prod(shape)
        slices <- lapply(seq_len(size), function(slice) elements[(slice - 1L) * count + seq_len(count)])
        elements <- if (!count) character()
                    else if (!size) rep("[]", count)
                    else paste0("[", do.call(paste, c(slices, sep = ",")), "]")
    }
    .array(elements)
}

.of_list <- function(value) {
    names <- names(value)
    elements <- vapply(value, encode_fast, "", USE.NAMES = FALSE)
    if (is.null(names))
        return(.array(elements))
    .object(.keys(names), elements)
}

.object <- function(keys, elements) {
    paste0("{", if (length(keys)) paste(keys, elements, sep = ":", collapse = ","), "}")
}

# The names of a list or data frame as keys. As jsonlite has it, an element without a name is called
# by its number, and a second one of a name gets a number.
.keys <- function(names) {
    blank <- is.na(names) | names == ""
    if (any(blank))
        names[blank] <- as.character(which(blank))
    if (anyDuplicated(names))
        names <- make.unique(names)
    quoted(names)
}

# A value with a class: by the first class that has a rule.
.of_class <- function(value) {
    rule <- .rule(.RULES, value)
    if (!is.null(rule))
        return(rule(value))
    rule <- .rule(.ELEMENTS, value)
    if (!is.null(rule)) {
        elements <- rule(value)
        return(if (length(elements) == 1L) elements else .array(elements))
    }
    # A class without a rule may stand for a number or text (`noquote`, `glue`, `table`), but a list
    # of it is an object with a meaning of its own, such as a model.
    if (isS4(value) || !is.atomic(value))
        .refuse(value)
    encode_fast(.bare(value))
}

.rule <- function(rules, value) {
    for (class in class(value))
        if (!is.null(rule <- rules[[class]]))
            return(rule)
    NULL
}

.bare <- function(value) {
    shape <- dim(value)
    value <- as.vector(unclass(value))
    if (length(shape) > 1L)
        dim(value) <- shape
    value
}

.text <- function(text) .or_null(quoted(text), is.na(text))

# Moments in ISO 8601 and UTC, with as many digits of the second as they have, to microseconds.
.moments <- function(value) {
    micros <- round(as.numeric(as.POSIXct(value)) * 1e6)
    seconds <- as.POSIXct(floor(micros / 1e6), origin = "1970-01-01", tz = "UTC")
    text <- paste0(format(seconds, "%Y-%m-%dT%H:%M:%S", tz = "UTC"), .fraction(micros), "Z")
    text[is.na(micros)] <- NA
    .text(text)
}

# Durations in ISO 8601: P1DT2H3M4.5S.
.durations <- function(value) {
    seconds <- as.numeric(value, units = "secs")
    micros <- round(abs(seconds) * 1e6)
    whole <- micros %/% 1e6
    text <- sprintf(
        "%sP%.0fDT%.0fH%.0fM%.0f%sS", ifelse(seconds < 0, "-", ""),
        whole %/% 86400, whole %% 86400 %/% 3600, whole %% 3600 %/% 60, whole %% 60,
        .fraction(micros)
    )
    text[is.na(micros)] <- NA
    .text(text)
}

.fraction <- function(micros) sub("\\.?0+$", "", sprintf(".%06.0f", micros %% 1e6))

# Whole numbers of 64 bits, which R keeps in the bits of a double.
.integers <- function(value) {
    text <- as.character(jsonlite::toJSON(unname(value), na = "null"))
    strsplit(substr(text, 2L, nchar(text) - 1L), ",", fixed = TRUE)[[1L]]
}

# JSON text as `jsonlite::toJSON` returns it goes out as it is.
.verbatim <- function(value) {
    text <- enc2utf8(paste(unclass(value), collapse = "\n"))
    right <- jsonlite::validate(text)
    if (!right)
        stop("text of class 'json' is not JSON: ", attr(right, "err"))
    text
}

# A data frame as one object for each row. Rows that have names of their own keep them as `_row`.
.rows <- function(frame) {
    count <- nrow(frame)
    columns <- lapply(unclass(frame), .cells, count = count)
    names <- names(frame)
    rows <- attr(frame, "row.names")
    if (is.character(rows)) {
        columns <- c(columns, list(quoted(rows)))
        names <- c(names, "_row")
    }
    if (!length(columns))
        return(.array(rep("{}", count)))
    pairs <- Map(function(key, cells) paste0(key, ":", cells), .keys(names), columns)
    .array(if (count) paste0("{", do.call(paste, c(unname(pairs), sep = ",")), "}"))
}

# The JSON of each cell of a column: `count` texts.
.cells <- function(column, count) {
    if (is.data.frame(column) || length(dim(column)) > 1L)
        return(vapply(seq_len(count), function(row) encode_fast(.row(column, row)), ""))
    if (!is.null(rule <- .rule(.ELEMENTS, column)))
        return(rule(column))
    if (is.list(column))
        return(vapply(seq_len(count), function(row) encode_fast(column[[row]]), ""))
    if (isS4(column))
        .refuse(column)
    .elements(.bare(column))
}

.row <- function(column, row) {
    if (is.data.frame(column))
        return(lapply(column, function(each) each[[row]]))
    I(as.vector(column[row, ]))
}

# Always an array, also of one element.
.as_is <- function(value) {
    rest <- setdiff(oldClass(value), "AsIs")
    oldClass(value) <- if (length(rest)) rest
    text <- encode_fast(value)
    if (is.list(value) || !is.null(dim(value)) || length(value) != 1L) text else .array(text)
}

.refuse <- function(value) {
    stop(
        "a value of ", if (is.object(value)) "class" else "type", " '",
        if (is.object(value)) class(value)[[1L]] else typeof(value), "' cannot be said in JSON",
        if (is.raw(value)) ": return text, such as jsonlite::base64_enc(value)"
    )
}

.RULES <- list(json = .verbatim, AsIs = .as_is, data.frame = .rows)
# The JSON of each element of a vector with a class.
.ELEMENTS <- list(
    factor = function(value) .text(as.character(value)),
    Date = function(value) .text(format(value, "%Y-%m-%d")),
    POSIXt = .moments,
    difftime = .durations,
    integer64 = .integers,
    numeric_version = function(value) .text(as.character(value))
)

# What was wrong, with the path to the value that is to blame.
not_encoded <- function(value, problem) {
    message <- conditionMessage(problem)
    if (inherits(problem, "stackOverflowError") || grepl(.TOO_DEEP, message))
        return("the value is nested too deep to be said in JSON")
    paste0("at ", tryCatch(.path(value), error = function(e) "result"), ": ", message)
}

.TOO_DEEP <- "nested too deeply|C stack usage"

# As code of R would reach it: result$a[[3]].
.path <- function(value) {
    path <- "result"
    repeat {
        walks <- is.list(value) && (!is.object(value) || is.data.frame(value))
        inner <- if (walks) which(!vapply(value, .has_json, NA))
        if (!length(inner))
            return(path)
        first <- inner[[1L]]
        name <- names(value)[first]
        path <- paste0(path, if (is.null(name) || is.na(name) || !nzchar(name)) sprintf("[[%d]]", first)
                             else if (make.names(name) == name) paste0("$", name)
                             else paste0("[[", encodeString(name, quote = "\""), "]]"))
        value <- value[[first]]
    }
}

.has_json <- function(value) {
    tryCatch({ encode_fast(value); TRUE }, error = function(problem) FALSE)
}
