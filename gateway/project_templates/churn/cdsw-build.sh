# Prepares a build: bash runs this in the build's own environment, and its exit status decides.
set -e

# A model that was fitted beforehand is used as it is.
if [ ! -e model.json ]; then
    python3 fit.py
fi
