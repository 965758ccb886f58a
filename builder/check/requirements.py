"""What files of requirements state that a build does not do.

A script that does not name a file may still read it by another script or by `pip install .`, so
that is a note. Without a script, the first of `INSTALLED` is installed; others are not.
"""

import re
import tomllib
from collections.abc import Collection

from builder.environment.implicit_script import REQUIREMENT_FILES as INSTALLED
from builder.environment.r.library import R_LOCK

_STATED = (*INSTALLED[:-1], "poetry.lock", "Pipfile.lock", "Pipfile")
# Scripts that install packages of R, by the names that they usually have.
_R_SCRIPTS = ("install.R", "install.r", "packages.R", "requirements.R", "install_packages.R")
MOST_PYPROJECT = 256 * 1024  # bytes that are read
_CLAUSE = re.compile(r"\s*(>=|<)\s*(\d+)\.(\d+)(?:\.0)?\s*")
_CONDA = ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml")


def unused_requirements(
    names: Collection[str], script_name: str, script: bytes | None
) -> list[str]:
    """Return a note for each file that nothing installs, as far as can be told."""
    stated = [name for name in (*_STATED, *_CONDA) if name in names]
    if script is not None:
        unnamed = [name for name in stated if name.encode() not in script]
        if len(unnamed) < len(stated):
            return []  # a lock beside its source
        return [
            f"{name} is not mentioned in {script_name}, which alone installs packages"
            for name in unnamed[:1]
        ]
    if any(name in names for name in INSTALLED):
        return []
    return [
        f"{name} is not read: export it to requirements.txt, or install it in cdsw-build.sh"
        for name in stated
        if name not in _CONDA
    ]


def unused_r_requirements(
    names: Collection[str], script_name: str, script: bytes | None
) -> list[str]:
    """Return a note for a file by which a project of R installs packages, if nothing runs it."""
    if script is None:
        by_hand = [name for name in _R_SCRIPTS if name in names and R_LOCK not in names]
        return [
            f"{name} is not run: call `Rscript {name}` in cdsw-build.sh" for name in by_hand[:1]
        ]
    # What the script runs may read it.
    if R_LOCK not in names or any(each in script for each in (b"renv", b"Rscript", b"R CMD")):
        return []
    return [f"{R_LOCK} is not mentioned in {script_name}, which alone installs packages"]


def requirement_problem(names: Collection[str], script: bytes | None) -> tuple[str, str] | None:
    """Return problem and advice for a project that only conda could install."""
    conda = [name for name in _CONDA if name in names]
    if not conda or script is not None or any(name in names for name in (*INSTALLED, *_STATED)):
        return None
    return (
        f"{conda[0]} is for conda, which builds do not have: nothing of it would be installed",
        "Write the packages into requirements.txt, or into a cdsw-build.sh with `pip install`.",
    )


def python_note(pyproject: bytes | None, version: str) -> list[str]:
    """Return a note if pyproject.toml asks for another Python than that of the build. Only bounds
    of whole minor versions are compared: pip and uv ignore the rest for what they do not build."""
    try:
        stated = tomllib.loads((pyproject or b"").decode())["project"]["requires-python"]
        clauses = [_CLAUSE.fullmatch(each) for each in stated.split(",")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    has = tuple(int(each) for each in re.findall(r"\d+", version)[:2])
    for clause in filter(None, clauses):
        bound = int(clause[2]), int(clause[3])
        if (has < bound) if clause[1] == ">=" else (has >= bound):
            return [
                f"pyproject.toml requires Python {stated}, and the build has {version}: choose "
                "another with `--kernel`"
            ]
    return []
