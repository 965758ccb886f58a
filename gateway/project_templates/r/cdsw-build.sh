# Prepares a build: bash runs this in the build's own environment, and its exit status decides.
set -e

Rscript install.R

# A model that was fitted beforehand is used as it is.
if [ ! -e model.rds ]; then
    Rscript fit.R
fi
