"""The SQL of each noun, on one shared `Table`."""
