"""One module for each verb of `python -m benchmarks`, and the code that several of them use."""
