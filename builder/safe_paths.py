"""Paths from a request: relative, beneath their root, and of files that are there."""

import os
from pathlib import Path, PurePosixPath

from builder.errors import ModelFileRefused
from builder.spec import BuildSpec


def resolve_beneath(root: Path, path: str) -> Path | None:
    """Resolve `path` from `root`, following links. Return None when that is not beneath `root`."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return None
    try:
        resolved = Path(os.path.realpath(root / pure))
    except ValueError:  # a NUL, or a name that no file system can have
        return None
    return resolved if resolved.is_relative_to(os.path.realpath(root)) else None


def check_model_path(spec: BuildSpec) -> None:
    """Raise ModelFileRefused, before any work, for a model outside the project."""
    root = resolve_beneath(spec.code, spec.model_root)
    if root is None or not root.is_dir():
        raise ModelFileRefused(
            f"the model's root {spec.model_root!r} is not a folder of the project",
            "Name a folder by its path from the project's root, or leave it empty.",
        )
    if _resolve_model(spec) is None:
        raise ModelFileRefused(
            f"{spec.file!r} is outside the project",
            "Name a file of the project by its path from the model's root.",
        )
    refuse_no_python(spec.file)


def refuse_no_python(file: str) -> None:
    """Raise ModelFileRefused for a name that is not that of a Python file."""
    if file.lower().endswith((".r", ".rmd", ".ipynb")):
        raise ModelFileRefused(
            f"{file!r} is not a Python file",
            "Serve a Python file: R models are not supported."
            if file.lower().endswith((".r", ".rmd"))
            else "Convert the notebook to a Python file: `jupyter nbconvert --to script`.",
        )
    if not file.endswith(".py"):
        raise ModelFileRefused(f"{file!r} is not a Python file", "Name a file ending in .py.")


def check_model_file(spec: BuildSpec) -> None:
    """Raise ModelFileRefused where the file to serve is missing, after the build script ran."""
    file = _resolve_model(spec)
    if file is None or not file.is_file():
        raise ModelFileRefused(
            f"{spec.file!r} is not a file of the build",
            "Check its name, and that .gitignore does not exclude it.",
        )


def _resolve_model(spec: BuildSpec) -> Path | None:
    # From the root of the project: a link in the model's root may lead to another project file.
    return resolve_beneath(spec.code, str(PurePosixPath(spec.model_root, spec.file)))
