# Prepares a build: bash runs this in the build's own environment, and its exit status decides.
set -e

pip3 install -r requirements.txt

# A model that was fitted beforehand is used as it is.
if [ ! -e model.pkl ]; then
    python3 fit.py
fi
