"""Metrics of predictions: written as they arrive, read, completed later, and forgotten in time."""
