"""The R of this machine. Tests that need it skip where it is missing; CI installs it."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest


@functools.cache
def _missing() -> str:
    """What is missing of R; "" for nothing."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return "Rscript (r-base-core)"
    asked = [rscript, "--vanilla", "-e", "loadNamespace('jsonlite')"]
    found = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    return "" if found else "jsonlite (r-cran-jsonlite)"


def r_prefix() -> Path:
    """The folder that has `bin/R`."""
    if missing := _missing():
        pytest.skip(f"needs {missing}")
    program = shutil.which("R")
    assert program
    return Path(program).parent.parent
