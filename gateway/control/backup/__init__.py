"""Backups: written while the gateway serves, restored while it does not."""
