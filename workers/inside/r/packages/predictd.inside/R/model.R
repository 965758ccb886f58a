# Loads the model: a file run by its path in the global environment, and one function of it.

# Runs `file` (relative to `root`) from `root` and returns its `function`. Stops as the file stops,
# or where it has no such function.
load_model <- function(root, file, name) {
    setwd(root)
    profile <- Filter(file.exists, c(".Rprofile", "~/.Rprofile"))
    if (length(profile))
        sys.source(profile[[1L]], globalenv())
    # Lines of the file in tracebacks; code without them is a little smaller.
    kept <- options(keep.source = TRUE)
    source(file, local = globalenv(), echo = FALSE, keep.source = TRUE, encoding = .encoding_of(file))
    options(kept)
    .fit(file, name)
}

# Bytes that are no UTF-8 are those of an older editor.
.encoding_of <- function(file) {
    bytes <- readBin(file, "raw", file.size(file))
    bytes <- bytes[bytes != as.raw(0L)]
    if (validUTF8(rawToChar(bytes))) "UTF-8" else "latin1"
}

.fit <- function(file, name) {
    if (!exists(name, globalenv(), inherits = FALSE))
        stop(sprintf("%s defines no '%s'; %s", file, name, .functions()), call. = FALSE)
    found <- get(name, globalenv(), inherits = FALSE)
    if (!is.function(found))
        stop(sprintf(
            "'%s' in %s is no function but of class '%s'; %s", name, file, class(found)[[1L]],
            .functions()
        ), call. = FALSE)
    if (!is.primitive(found) && !length(formals(found)))
        stop(sprintf("%s() takes no argument: it gets the request as its one argument", name), call. = FALSE)
    found
}

.functions <- function() {
    names <- Filter(function(name) is.function(get(name, globalenv())), ls(globalenv()))
    paste0("the functions it defines: ", if (length(names)) paste(names, collapse = ", ") else "none")
}
