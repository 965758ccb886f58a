"""Packages of R: the library of an environment, and what the build script's R is given."""
