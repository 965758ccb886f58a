"""Hypercorn behind a filter: the server of everything that is not a call of a model."""
