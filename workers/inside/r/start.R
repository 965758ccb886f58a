# The first file that a replica of R runs: `R --no-init-file --file=start.R`, with the descriptors of
# its pipes in PREDICTD_WIRE. It is one expression: if the model leaves it by the restart "abort",
# R runs the last line, which ends the process.
local({
    file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[[1L]])
    packages <- file.path(dirname(file), "packages")
    inside <- loadNamespace("predictd.inside", lib.loc = packages)
    wire <- strsplit(Sys.getenv("PREDICTD_WIRE"), ",", fixed = TRUE)[[1L]]
    Sys.unsetenv("PREDICTD_WIRE")
    inside$serve(as.integer(wire), packages)
})
quit("no", 1L)
