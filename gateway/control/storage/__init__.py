"""What the data folder no longer needs, found and removed."""
