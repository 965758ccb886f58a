"""File system helpers that are safe on folders that others can change."""
