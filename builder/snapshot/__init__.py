"""Which files of a project belong to a snapshot, and how they are stored and written out."""
