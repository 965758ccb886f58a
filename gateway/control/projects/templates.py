"""What new projects begin with: a folder of gateway/templates."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from builder import Folder, make_folder

# The names that clients send, and the folder that each means.
TEMPLATES = {"python": "python", "r": "r", "churn": "churn", "blank": "blank", "": "blank"}


def copy_template(template: str, path: Path) -> None:
    """Copies a template into the project's folder; what is there already stays."""
    make_folder(path)
    if not template:
        return
    with (
        as_file(files("gateway") / "project_templates" / template) as source,
        Folder.root(path) as folder,
    ):
        there = {entry.name for entry in folder.entries()}
        for entry in sorted(source.iterdir()):
            if entry.is_file() and entry.name not in there:
                with entry.open("rb") as original, folder.writing(entry.name) as file:
                    shutil.copyfileobj(original, file)
