"""Logs: each is read once, however many follow it."""
