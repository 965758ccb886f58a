"""The commands: one module for each noun or everyday verb."""
