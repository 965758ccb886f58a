"""Builds: from a snapshot to a sealed, tested environment."""
