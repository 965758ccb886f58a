"""Paths from a request: relative, beneath their root, and of files that are there."""

import os
from pathlib import Path, PurePosixPath

from builder.errors import ModelFileRefused
from builder.interpreters import Language
from builder.spec import BuildSpec

# What notebooks are turned into programs by.
_CONVERT = {
    ".ipynb": "Convert the notebook to a program: `jupyter nbconvert --to script`.",
    ".rmd": "Extract the code of the notebook: `knitr::purl()` writes a file that ends in .R.",
}


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


def check_model_path(spec: BuildSpec, language: Language) -> None:
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
    refuse_other_language(spec.file, language)


def is_notebook(file: str) -> bool:
    """Whether the name is that of a notebook, which has to be converted."""
    return PurePosixPath(file).suffix.lower() in _CONVERT


def refuse_other_language(file: str, language: Language) -> None:
    """Raise ModelFileRefused for a name that is not that of a file in the language."""
    ending = PurePosixPath(file).suffix.lower()
    if advice := _CONVERT.get(ending):
        raise ModelFileRefused(f"{file!r} is no program but a notebook", advice)
    if language == "r":
        if ending == ".py":
            raise ModelFileRefused(
                f"{file!r} is a Python file, and the kernel is R",
                "Leave the kernel out: the ending of the file decides.",
            )
    elif ending == ".r":
        raise ModelFileRefused(
            f"{file!r} is a file of R, and the kernel is Python",
            "Leave the kernel out: the ending of the file decides.",
        )
    elif not file.endswith(".py"):
        raise ModelFileRefused(f"{file!r} is not a Python file", "Name a file ending in .py or .R.")


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
