"""The `pip` of a build script."""
