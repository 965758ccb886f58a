"""The lock of an environment: which packages are installed in it, from where, with hashes."""
