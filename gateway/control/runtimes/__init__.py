"""Runtimes: what the environments of builds and experiments start from."""
