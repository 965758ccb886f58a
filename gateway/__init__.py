"""The house that introduces the engines to each other: settings, HTTP, CLI, orchestration."""
