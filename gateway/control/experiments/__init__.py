"""Experiments: scripts that run once, and what they track and keep."""
