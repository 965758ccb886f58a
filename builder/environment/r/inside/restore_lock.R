# Installs the packages of a renv.lock in their versions: what `renv::restore()` does, without renv.
# Argument: the path of the lock. A package that a library of the machine has in its version is not
# installed again. Base R and jsonlite.

file <- commandArgs(trailingOnly = TRUE)[[1L]]
fail <- function(...) {
    message("renv.lock: ", ...)
    quit("no", 1L)
}

lock <- tryCatch(
    jsonlite::fromJSON(file, simplifyVector = FALSE),
    error = function(error) fail("it is no JSON: ", conditionMessage(error))
)
packages <- Filter(function(each) !identical(each$Package, "renv"), lock$Packages)
if (length(asked <- lock$R$Version) && !startsWith(paste0(asked, "."), paste0(getRversion()[, 1:2], ".")))
    message("Note: renv.lock is of R ", asked, ", and this is R ", getRversion())

base <- rownames(installed.packages(priority = "base"))
has <- function(each)
    each$Package %in% base || identical(
        tryCatch(as.character(packageVersion(each$Package)), error = function(error) ""),
        as.character(package_version(each$Version))
    )
wanted <- Filter(Negate(has), packages)
if (!length(wanted)) {
    message("All ", length(packages), " packages of renv.lock are there")
    quit("no")
}

# The addresses of repositories by name. Those of the machine are for locks that name none.
named <- vapply(lock$R$Repositories, function(each) each$URL, "")
names(named) <- vapply(lock$R$Repositories, function(each) each$Name, "")
repositories <- if (nzchar(Sys.getenv("CRAN")) || !length(named)) c(named, getOption("repos")) else named
if (nzchar(Sys.getenv("CRAN")))
    repositories["CRAN"] <- Sys.getenv("CRAN")

folder <- tempfile("packages")
dir.create(folder)
get <- function(address, name) {
    target <- file.path(folder, name)
    done <- tryCatch(
        suppressWarnings(download.file(address, target, mode = "wb", quiet = TRUE)),
        error = function(error) 1L
    )
    if (!identical(done, 0L))
        unlink(target)
    identical(done, 0L)
}

# Whether the file of a package in its version was found: in the project, or in a repository, where
# older versions lie in an archive.
fetch <- function(each) {
    name <- sprintf("%s_%s.tar.gz", each$Package, each$Version)
    for (local in file.path("renv", c("local", "cellar"), name))
        if (file.exists(local))
            return(file.copy(local, folder))
    first <- if (length(each$Repository)) repositories[names(repositories) == each$Repository]
    for (repository in unique(c(first, repositories))) {
        from <- contrib.url(repository, "source")
        places <- c(from, file.path(from, "Archive", each$Package))
        for (place in places)
            if (get(paste(place, name, sep = "/"), name))
                return(TRUE)
    }
    FALSE
}

shown <- function(each) paste(each$Package, each$Version)
of <- function(each) if (length(each$Source)) each$Source else "Repository"
elsewhere <- Filter(function(each) !of(each) %in% c("Repository", "CRAN", "Local", "Cellar"), wanted)
if (length(elsewhere)) {
    first <- elsewhere[[1L]]
    place <- if (length(first$RemoteRepo)) paste0(first$RemoteUsername, "/", first$RemoteRepo) else first$RemoteUrl
    commit <- if (length(first$RemoteSha)) paste0("@", first$RemoteSha)
    fail(
        shown(first), " comes from ", of(first), if (length(place)) paste0(" (", place, commit, ")"),
        if (length(elsewhere) > 1L) paste(", and", length(elsewhere) - 1L, "more from such places"),
        ": without a script only packages of repositories are installed"
    )
}
message("Installing ", length(wanted), " of the ", length(packages), " packages of renv.lock")
for (each in wanted)
    if (!fetch(each))
        fail("cannot download ", shown(each), " from ", paste(unique(repositories), collapse = ", "))

# The lock states versions, so what the repositories have later does not matter.
if (nzchar(record <- Sys.getenv("PREDICTD_R_REQUESTS")))
    cat("locked\n", file = record, append = TRUE)
Sys.unsetenv(c("PREDICTD_R_REQUESTS", "PREDICTD_R_LOCK"))

# As a repository, in which R finds the order.
tools::write_PACKAGES(folder, type = "source")
address <- paste0("file://", folder)
install.packages(vapply(wanted, function(each) each$Package, ""), contriburl = address, type = "source")
left <- Filter(Negate(has), wanted)
if (length(left))
    fail("cannot install ", paste(vapply(left, shown, ""), collapse = ", "), ": see above")
