"""What predictd costs, measured on the real thing; `python -m benchmarks`. See README.md."""
