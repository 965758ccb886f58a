"""Where the environments of builds are, seen from outside."""

import json
from pathlib import Path


def virtualenv_of(data: Path, build: str) -> Path:
    """The virtual environment that a build of the data folder runs in."""
    manifest: dict[str, str] = json.loads((data / "builds" / build / "sealed").read_bytes())
    return data / "environments" / manifest["environment"] / "environment"


def virtualenvs_in(data: Path, project: str) -> list[Path]:
    """The virtual environments of a project."""
    seals = (data / "environments").glob("*/sealed")
    mine = [seal.parent for seal in seals if json.loads(seal.read_bytes())["project"] == project]
    return [folder / "environment" for folder in mine]
