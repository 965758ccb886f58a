"""Constraints of a rebuild: the versions of the build's lock, for pip, uv and R in its script.

They are given by variables, so the script stays as it is. The address of the file has no blanks,
which pip and uv would take as the end of a name.
"""

from collections.abc import Mapping
from pathlib import Path

from builder.spec import BuildSpec


def constraints_path(spec: BuildSpec) -> Path:
    """The file of the constraints, beside the temporary files of the script."""
    return spec.tmp / "lock-constraints.txt"


def r_lock_path(spec: BuildSpec) -> Path:
    """The file of the packages of R, one on a line, beside that of the constraints."""
    return spec.tmp / "r-lock"


def constraint_variables(spec: BuildSpec, given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name the constraints, beside those that are `given`."""
    if not spec.lock:
        return {}
    own = constraints_path(spec).as_uri()
    named = {name: f"{given.get(name, '')} {own}".strip() for name in _NAMES}
    return {**named, "PREDICTD_R_LOCK": str(r_lock_path(spec))}


_NAMES = ("PIP_CONSTRAINT", "UV_CONSTRAINT")
