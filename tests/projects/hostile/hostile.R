# A model that attacks the conversation with the gateway, as it is told: {"do": "half_frame"}.
#
# A frame is a header (u32 length, u8 kind, u64 id, little-endian) and a body; kind 19 answers.

ANSWER <- 19

behave <- function(args) DEEDS[[args$do]](args)

`%or%` <- function(value, default) if (is.null(value)) default else value

little <- function(number, size) as.raw(number %/% 256^(seq_len(size) - 1) %% 256)

answer <- function(id, body = charToRaw('"forged"'), length = base::length(body)) {
    id <- if (is.raw(id)) id else little(id, 8)
    c(little(length, 4), little(ANSWER, 1), id, body)
}

# All descriptors that are open for writing, by their paths.
writable <- function() {
    paths <- file.path("/proc/self/fd", list.files("/proc/self/fd"))
    is_writable <- function(path) {
        lines <- tryCatch(readLines(sub("/fd/", "/fdinfo/", path)), error = function(e) "flags: 0")
        !grepl("0$", grep("^flags:", lines, value = TRUE))
    }
    Filter(function(path) suppressWarnings(is_writable(path)), paths)
}

# The pipe of the wire: what is printed has descriptors up to 2.
outlet <- function() {
    paths <- writable()
    paths <- paths[as.integer(basename(paths)) > 2]
    paths[startsWith(Sys.readlink(paths), "pipe:")]
}

write_to <- function(paths, bytes) {
    for (path in paths)
        suppressWarnings(try(silent = TRUE, {
            open <- file(path, "ab", raw = TRUE)
            writeBin(bytes, open)
            close(open)
        }))
}

# The id of this very request, as the frames around this call have it.
this_id <- function() {
    for (frame in sys.frames())
        if (exists("now", frame, inherits = FALSE))
            return(get("now", frame)$id)
}

DEEDS <- list(
    # Answer with an id: that of an earlier request, or of one that is still to come.
    forge = function(args) {
        write_to(outlet(), answer(args$id))
        "honest"
    },
    # Answer with the id of this very request; then once more.
    answer_twice = function(args) {
        write_to(outlet(), answer(this_id()))
        "honest"
    },
    # Say a frame of any kind with the id of this very request.
    say = function(args) {
        text <- paste0(args$before %or% "", strrep(args$text, args$times %or% 1))
        body <- charToRaw(iconv(text, "UTF-8", "latin1"))
        write_to(outlet(), c(little(length(body), 4), little(args$kind, 1), this_id(), body))
        Sys.sleep(args$seconds %or% 3600)
        "honest"
    },
    # Announce a body of so many bytes and send a few of them.
    announce = function(args) {
        write_to(outlet(), answer(0, charToRaw(strrep("x", 1000)), args$length))
        Sys.sleep(3600)
    },
    # Send half a header and go on as if nothing were.
    half_frame = function(args) {
        write_to(outlet(), head(answer(1), args$bytes))
        if (isTRUE(args$die))
            quit("no", 0L, runLast = FALSE)
        "honest"
    },
    junk_everywhere = function(args) {
        system("head -c 3500 /dev/urandom; head -c 3500 /dev/urandom >&2")
        write_to(writable(), rep(as.raw(c(255, 0, 128)), 1000))
        "littered"
    },
    close_everything = function(args) {
        parallel:::closeFD(0:1023)
        Sys.sleep(3600)
    },
    os_exit = function(args) quit("no", args$status %or% 4L, runLast = FALSE),
    exit = function(args) quit("no", args$status %or% 3L),
    # The process ends while it is idle.
    exit_in_thread = function(args) {
        killing <- sprintf("(sleep %f; kill -9 %d) >/dev/null 2>&1 &", args$seconds, Sys.getpid())
        system(killing)
        "answered"
    },
    kill = function(args) {
        number <- c(SIGKILL = 9L, SIGSEGV = 11L, SIGABRT = 6L, SIGTERM = 15L)[[args$signal]]
        tools::pskill(Sys.getpid(), number)
        Sys.sleep(args$seconds %or% 0)
        "continued"
    },
    sleep = function(args) {
        if (!is.null(args$nonce))
            cat("begun", args$nonce, "\n")
        Sys.sleep(args$seconds)
        args$nonce
    },
    big = function(args) strrep("x", args$bytes),
    # Write so many bytes to stdout: lines, one line, or anything at all.
    print_much = function(args) {
        if (args$kind == "binary") {
            system(sprintf("head -c %d /dev/urandom", args$bytes))
            return("printed")
        }
        piece <- switch(args$kind,
            lines = strrep(paste0(strrep("x", 127), "\n"), 512),
            `one line` = strrep("x", 65536),
            ansi = strrep("\033[31mred\033[0m</script><script>alert(1)</script>\033]0;title\a\n", 1024)
        )
        for (each in seq_len(args$bytes %/% nchar(piece)))
            cat(piece)
        "printed"
    },
    # Hold so many descriptors: R has no more than 128 connections.
    descriptors = function(args) {
        for (each in seq_len(min(args$count, 100)))
            HELD[[each]] <<- file("/dev/null", "r")
        length(HELD)
    },
    # Processes, since code of R has no threads.
    threads = function(args) {
        for (each in seq_len(args$count))
            system("sleep 3600 &")
        args$count
    },
    echo = function(args) args
)
HELD <- list()
