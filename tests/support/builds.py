"""Where the environment of a sealed build is, seen from outside."""

import json
from pathlib import Path


def virtualenv_of(data: Path, build: str) -> Path:
    """The virtual environment that a build of the data folder runs in."""
    manifest: dict[str, str] = json.loads((data / "builds" / build / "sealed").read_bytes())
    return data / "environments" / manifest["environment"] / "environment"
