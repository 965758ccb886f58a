"""Load: the callers of a server, how they call, and the answers. See `spec.py`."""
