"""The `pip` of a build: uv where it can do the same, else pip. Standard library only, for the
Python of the build: CPython 3.8 and newer."""
