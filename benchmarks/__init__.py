"""Measures what predictd costs, on real gateways: `python -m benchmarks`. See README.md."""
