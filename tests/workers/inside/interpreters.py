"""The CPythons of this machine that can run a model: one for each minor version from 3.8 on.

Found on PATH, then in pyenv's folder; the one that runs the tests is always among them. To test
another (one with pandas, say), put it first on PATH.
"""

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MINORS = range(8, 15)
ASK = "import sys, json; print(json.dumps([sys.executable, *sys.version_info[:2]]))"


@functools.cache
def found() -> dict[str, Path]:
    """Version ("3.8") to interpreter."""
    answers: dict[str, Path] = {}
    for candidate in _candidates():
        answer = _ask(candidate)
        if answer is not None:
            executable, major, minor = answer
            answers.setdefault(f"{major}.{minor}", Path(executable))
    return answers


def _candidates() -> Iterator[str]:
    for minor in MINORS:
        on_path = shutil.which(f"python3.{minor}")
        if on_path is not None:
            yield on_path
        for folder in Path.home().glob(f".pyenv/versions/3.{minor}.*"):
            yield str(folder / "bin" / "python")
    yield sys.executable


def _ask(candidate: str) -> tuple[str, int, int] | None:
    try:
        asked = subprocess.run([candidate, "-I", "-c", ASK], capture_output=True, timeout=20)
    except OSError:
        return None
    # A shim of pyenv stands on PATH for versions that are not enabled, and fails.
    if asked.returncode != 0:
        return None
    executable, major, minor = json.loads(asked.stdout)
    return executable, major, minor
