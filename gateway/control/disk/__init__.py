"""The disk of the data folder: what may still use it, what uses it, and what is removed."""
