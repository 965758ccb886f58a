"""Load: who calls a server, how, and what came back. See `spec.py`."""
