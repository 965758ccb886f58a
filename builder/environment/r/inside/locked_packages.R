# Has `install.packages` take the versions of a lock, where a build is made again. The file that
# PREDICTD_R_LOCK names has a line for each package: name, version and, if its file was made for a
# repository, the name of that one. A repository keeps older versions in an archive.

# The packages that repositories have, with those of the lock in their versions.
locked_packages <- function(available, contriburl) {
    lock <- Sys.getenv("PREDICTD_R_LOCK")
    folder <- paste0(lock, "-packages") # also for later calls, of other processes too
    dir.create(folder, showWarnings = FALSE)
    get <- function(address, file) {
        done <- tryCatch(
            suppressWarnings(utils::download.file(address, file, mode = "wb", quiet = TRUE)),
            error = function(error) 1L
        )
        if (!identical(done, 0L))
            unlink(file)
        identical(done, 0L)
    }
    found <- character()
    for (each in strsplit(readLines(lock, warn = FALSE), "\t", fixed = TRUE)) {
        name <- each[[1L]]
        version <- each[[2L]]
        row <- match(name, available[, "Package"])
        if (is.na(row) && length(each) < 3L)
            next # of the project
        if (identical(unname(available[row, "Version"]), version))
            next
        file <- sprintf("%s_%s.tar.gz", name, version)
        from <- unique(c(if (!is.na(row)) available[row, "Repository"], contriburl))
        kept <- file.path(folder, file)
        addresses <- file.path(c(from, file.path(from, "Archive", name)), file)
        for (address in addresses)
            if (file.exists(kept) || get(address, kept))
                break
        if (file.exists(kept))
            found <- c(found, name)
        else
            message(
                "Cannot get ", name, " ", version, " of the build's lock from ", paste(from, collapse = ", ")
            )
    }
    if (!length(found))
        return(available)
    tools::write_PACKAGES(folder, type = "source")
    older <- utils::available.packages(paste0("file://", folder), type = "source", filters = list())
    older <- older[older[, "Package"] %in% found, , drop = FALSE]
    rest <- available[!available[, "Package"] %in% found, , drop = FALSE]
    fields <- intersect(colnames(rest), colnames(older))
    rbind(rest[, fields, drop = FALSE], older[, fields, drop = FALSE])
}
