"""Projects and their models."""
