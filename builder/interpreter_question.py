"""Asks a candidate for an interpreter about itself, with an empty environment and a deadline."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from builder.errors import InterpreterUnusable

ANSWER_TIMEOUT = 10.0  # seconds for one candidate to answer
# The program `R` is a script, which needs the usual commands.
_VARIABLES = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}


def ask(path: Path, *arguments: str) -> bytes:
    """Return what a program prints. Blocking. Raises InterpreterUnusable."""
    try:
        return subprocess.run(
            [path, *arguments],
            env=_VARIABLES,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_TIMEOUT,
            check=True,
        ).stdout
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"it ended with {error.returncode}"
        raise InterpreterUnusable(path, reason) from error
    except subprocess.TimeoutExpired as error:
        raise InterpreterUnusable(path, f"it did not answer within {ANSWER_TIMEOUT:g} s") from error
    except OSError as error:
        raise InterpreterUnusable(path, error.strerror or str(error)) from error


def dotted(version: Iterable[int]) -> str:
    """Return the numbers of a version as text."""
    return ".".join(map(str, version))
