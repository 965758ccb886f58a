"""Processes: how one is started, watched, limited, and ended with its children."""
