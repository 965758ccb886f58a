"""Predictions: from the bytes of a request to the pool that answers, and back."""
