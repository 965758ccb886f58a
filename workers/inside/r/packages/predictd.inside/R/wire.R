# The inner end of the wire: frames on two pipes that no other code uses.
#
# A frame is a header of 13 bytes, little-endian (u32 length of the body, u8 kind, u64 id), then the
# body, which is JSON. Ids are only repeated, so they stay bytes.
#
# R opens files, not descriptors. So each pipe is opened once more by its path in /proc, and the
# descriptor that R was started with is closed. The "e" of the modes is the C library's: programs
# that the model starts do not inherit the new ones. A process that is forked from this one has them,
# but `answer` ends it before it could send.

.START <- 1L
.PREDICT <- 2L
.HELLO <- as.raw(16L)
.READY <- as.raw(17L)
.FAILED <- as.raw(18L)
.ANSWER <- as.raw(19L)
.RAISED <- as.raw(20L)
.REFUSED <- as.raw(21L)
.TRACKED <- as.raw(22L)
.NO_ID <- raw(8L)
.NOTHING <- raw(3L)
.PLACES <- 256^(0:3) # of the bytes of a length

wire <- new.env(parent = emptyenv())

open_wire <- function(descriptors) {
    paths <- paste0("/proc/self/fd/", descriptors)
    wire$inlet <- file(paths[[1L]], "reb", raw = TRUE)
    wire$outlet <- file(paths[[2L]], "web", raw = TRUE)
    wire$pid <- Sys.getpid()
    # R itself has no function that closes a descriptor, but this package of R's has one.
    asNamespace("parallel")$closeFD(descriptors)
    .spare_wire()
}

# Models call base's function of this name to tidy up; it would close the wire, too.
.spare_wire <- function() {
    spared <- c(wire$inlet, wire$outlet)
    close_all <- function() {
        if (sink.number(type = "message") > 0L)
            sink(stderr(), type = "message")
        for (each in seq_len(sink.number()))
            sink()
        gc()
        for (each in setdiff(getAllConnections(), c(0L, 1L, 2L, spared)))
            close(getConnection(each))
        invisible()
    }
    environment(close_all) <- list2env(list(spared = spared), parent = baseenv())
    base <- baseenv()
    unlockBinding("closeAllConnections", base)
    assign("closeAllConnections", close_all, base)
    lockBinding("closeAllConnections", base)
}

# Base's `readBin` and `writeBin` look at their arguments first, which takes five times as long as the
# work. This is the last call of such a function, with `given` for what the others come to; the
# function itself where its last call is another one.
.last_call_of <- function(original, arguments, given) {
    last <- body(original)
    last <- last[[length(last)]]
    names <- c(names(arguments), names(given))
    if (!is.call(last) || !identical(last[[1L]], as.name(".Internal")) || !all(all.vars(last) %in% names))
        return(original)
    eval(call("function", as.pairlist(arguments), last), list2env(given, parent = baseenv()))
}

.read <- .last_call_of(
    readBin, alist(con = , what = , n = ), list(size = NA_integer_, signed = TRUE, swap = FALSE)
)
.write <- .last_call_of(
    writeBin, alist(object = , con = ), list(size = NA_integer_, swap = FALSE, useBytes = FALSE)
)

# The next frame, or NULL when the pipe is closed: then the gateway has ended, or wants this process
# to end.
receive <- function() {
    header <- .read(wire$inlet, "raw", 13L)
    if (length(header) < 13L)
        return(NULL)
    numbers <- as.integer(header)
    size <- numbers[1L] + 256 * numbers[2L] + 65536 * numbers[3L] + 16777216 * numbers[4L]
    body <- .read(wire$inlet, "raw", size)
    if (length(body) < size)
        return(NULL)
    list(kind = numbers[5L], id = header[6:13], body = body)
}

frame <- function(kind, id, body) {
    if (is.character(body))
        body <- charToRaw(body)
    size <- length(body)
    c(if (size < 256L) c(as.raw(size), .NOTHING) else as.raw(size %/% .PLACES %% 256), kind, id, body)
}

# Writes one or more frames. Stops where the gateway has ended.
send <- function(bytes) {
    .write(bytes, wire$outlet)
    flush.connection(wire$outlet)
}
