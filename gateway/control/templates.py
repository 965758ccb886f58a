"""What new projects begin with: a folder of gateway/templates."""

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from builder import make_folder, sync_folder

# The names that clients send, and the folder that each means.
TEMPLATES = {"python": "python", "churn": "churn", "blank": "blank", "": "blank"}


def lay_out(template: str, path: Path) -> None:
    """Copies a template into the project's folder; files that are there already stay."""
    make_folder(path)
    if not template:
        return
    with as_file(files("gateway") / "templates" / template) as source:
        for entry in sorted(source.iterdir()):
            target = path / entry.name
            if entry.is_file() and not target.exists():
                with entry.open("rb") as source_file, target.open("xb") as file:
                    shutil.copyfileobj(source_file, file)
                    file.flush()
                    os.fsync(file.fileno())
    sync_folder(path)
