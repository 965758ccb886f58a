"""Which files that state requirements nothing of a build reads.

A script that does not name a file may still read it by another script or by `pip install .`, so
that is a note. Without a script, the first of `INSTALLED` is installed; others are not.
"""

from collections.abc import Collection

from builder.environment.implicit_script import REQUIREMENT_FILES as INSTALLED

_STATED = (*INSTALLED[:-1], "poetry.lock", "Pipfile.lock", "Pipfile")
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


def requirement_problem(names: Collection[str], script: bytes | None) -> tuple[str, str] | None:
    """Return problem and advice for a project that only conda could install."""
    conda = [name for name in _CONDA if name in names]
    if not conda or script is not None or any(name in names for name in (*INSTALLED, *_STATED)):
        return None
    return (
        f"{conda[0]} is for conda, which builds do not have: nothing of it would be installed",
        "Write the packages into requirements.txt, or into a cdsw-build.sh with `pip install`.",
    )
