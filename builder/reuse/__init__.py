"""Environments that are made once: where they are, and when one may be used again."""
