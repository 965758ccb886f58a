"""The Rs of this machine: asked by `Rscript`, and used from 4.0 on, with the package jsonlite.

A replica of R reads and writes JSON by jsonlite. It is asked for here, so that an R without it is
told before a build, not by a model that does not start.
"""

import re
from pathlib import Path

from builder.errors import InterpreterUnusable
from builder.interpreter_question import ask

PROGRAM = "Rscript"
OLDEST = (4, 0)
JSON_PACKAGE = "jsonlite"
# `installed.packages` would read all packages.
QUESTION = f"""
cat(as.character(getRversion()), R.home(), nzchar(system.file(package = "{JSON_PACKAGE}")),
    sep = "\n")
"""
_VERSION = re.compile(r"\d+(\.\d+){2}")


def ask_r(path: Path) -> tuple[str, Path]:
    """Return the version of an R, and the folder of its library. Blocking. Raises
    InterpreterUnusable."""
    # Without the packages that R attaches it starts in a third of the time.
    answer = ask(path, "--vanilla", "--default-packages=NULL", "-e", QUESTION)
    lines = answer.decode("utf-8", "replace").split("\n")
    if len(lines) < 3 or not _VERSION.fullmatch(lines[0]) or not Path(lines[1]).is_absolute():
        raise InterpreterUnusable(path, "its answer is not that of R")
    version, home, has_json, *_ = lines
    if tuple(map(int, version.split("."))) < OLDEST:
        raise InterpreterUnusable(path, f"it is R {version}, older than 4.0")
    if has_json != "TRUE":
        raise InterpreterUnusable(path, f"it has no package {JSON_PACKAGE} (r-cran-jsonlite)")
    return version, _root(Path(home).resolve())


def _root(home: Path) -> Path:
    """The folder that has R's home in its `lib`, and the libraries of a conda beside it."""
    return home.parent.parent if home.parent.name in ("lib", "lib64") else home
