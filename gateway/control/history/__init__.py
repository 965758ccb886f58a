"""What happened to the requests of models: recorded off the hot path, and read."""
