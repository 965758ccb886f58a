"""Paths that come from outside are relative, stay beneath their root, and are files there."""

import os
from pathlib import Path, PurePosixPath

from builder.errors import ModelFileRefused
from builder.spec import BuildSpec


def resolve_beneath(root: Path, path: str) -> Path | None:
    """Where `path` leads from `root`, links followed; None when that is not beneath `root`."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return None
    try:
        resolved = Path(os.path.realpath(root / pure))
    except ValueError:  # a NUL, or what no file system can spell
        return None
    return resolved if resolved.is_relative_to(os.path.realpath(root)) else None


def check_model_path(spec: BuildSpec) -> None:
    """Refuse, before anything is spent on it, a model that cannot be beneath the project."""
    root = resolve_beneath(spec.code, spec.model_root)
    if root is None or not root.is_dir():
        raise ModelFileRefused(
            f"the model's root {spec.model_root!r} is not a folder of the project",
            "Name a folder by its path from the project's root, or leave it empty.",
        )
    if _resolve_model(spec) is None:
        raise ModelFileRefused(
            f"{spec.file!r} leads out of the project",
            "Name a file of the project by its path from the model's root.",
        )
    if spec.file.lower().endswith((".r", ".rmd", ".ipynb")):
        raise ModelFileRefused(
            f"{spec.file!r} is not a Python file",
            "R models are not served; serve a Python file."
            if spec.file.lower().endswith((".r", ".rmd"))
            else "Make a Python file of the notebook: `jupyter nbconvert --to script`.",
        )
    if not spec.file.endswith(".py"):
        raise ModelFileRefused(f"{spec.file!r} is not a Python file", "Name a file ending in .py.")


def check_model_file(spec: BuildSpec) -> None:
    """Refuse a build without the file to serve; the build script may have made it."""
    file = _resolve_model(spec)
    if file is None or not file.is_file():
        raise ModelFileRefused(
            f"{spec.file!r} is not a file of the build",
            "Check its name, and that .gitignore does not exclude it.",
        )


def _resolve_model(spec: BuildSpec) -> Path | None:
    # From the project's root: a link may lead from the model's root to another project file.
    return resolve_beneath(spec.code, str(PurePosixPath(spec.model_root, spec.file)))
