"""Users, their passwords, keys and sessions, and the members of projects."""
