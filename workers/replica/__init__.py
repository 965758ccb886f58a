"""One replica: its process, its states, and the frames on its pipes."""
