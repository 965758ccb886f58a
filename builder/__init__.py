"""Turns a folder of project files into a sealed build: its code beside its own environment."""
