"""One module for each verb of `python -m benchmarks`, and what several of them share."""
