"""The data folder around the database: its lock, its reserves of disk space, its generation."""
