# Installs the packages that the project needs besides R's own, if the machine does not have them.

needed <- c("jsonlite")
missing <- setdiff(needed, rownames(installed.packages()))
if (length(missing)) install.packages(missing)
