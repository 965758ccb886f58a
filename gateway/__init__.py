"""Connects store, builder and workers: settings, HTTP, CLI, orchestration."""
