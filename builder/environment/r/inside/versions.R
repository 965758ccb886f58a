# Writes which versions repositories have of packages. Arguments: the file with the addresses of the
# repositories, the file with the names of the packages, the file for the answer. Base R alone.

options(warn = 2L) # a repository that cannot be reached is an error
given <- lapply(commandArgs(trailingOnly = TRUE), identity)
found <- available.packages(readLines(given[[1L]]), type = "source")
found <- found[rownames(found) %in% readLines(given[[2L]]), c("Package", "Version", "MD5sum", "Repository"), drop = FALSE]
write.table(found[order(rownames(found)), , drop = FALSE], given[[3L]], quote = FALSE, sep = "\t", row.names = FALSE)
