"""The virtual environment of a build, and the build script that runs in it."""
