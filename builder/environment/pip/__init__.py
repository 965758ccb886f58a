"""The `pip` of a build script: uv where it can do the same, what it was asked, and what the index
gives for that now."""
