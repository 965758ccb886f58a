"""Why a file that a model misses was not uploaded: the line of the .gitignore that excludes it.

The gateway has not seen the file, but this folder may have it. So what a failure says is missing is
looked up here: a path, a module, or a package whose file is here (`--find-links wheels`).
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

_PATHS = (
    re.compile(r"FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'"),
    re.compile(r"File '([^']+)' does not exist"),
    re.compile(r"not found at: file://(/home/cdsw/\S+)"),
)
_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_PACKAGE = re.compile(
    r"Because (\S+) was not found in the|No matching distribution found for ([\w.-]+)"
)
_ARCHIVE = re.compile(r"(.+?)-\d.*\.(?:whl|tar\.gz|zip)$")
_MOST_ARCHIVES = 1000
_HOME = "/home/cdsw/"


def left_out_hint(folder: Path, problem: str) -> str:
    """A sentence about the file that `problem` misses, if `folder` has it and its .gitignore
    excludes it; else ""."""
    missing = [each for each in _missing(folder, problem) if _is_here(folder, each)]
    if not missing:
        return ""
    from builder import BuilderError, list_folder

    try:
        contents = list_folder(folder).contents
    except (BuilderError, OSError):
        return ""
    for path in missing:
        if rule := contents.rule_for(str(path)):
            return f"{path} was not uploaded, because {rule} excludes it."
    return ""


def _missing(folder: Path, problem: str) -> Iterator[PurePosixPath]:
    """The paths that may be meant."""
    for pattern in _PATHS:
        if found := pattern.search(problem):
            yield PurePosixPath(found[1].removeprefix(_HOME))
    if found := _MODULE.search(problem):
        path = PurePosixPath(found[1].replace(".", "/"))
        yield from (path.with_name(f"{path.name}.py"), path, PurePosixPath(path.parts[0]))
    if found := _PACKAGE.search(problem):
        name = _normal(found[1] or found[2])
        for each in islice(folder.glob("*/*"), _MOST_ARCHIVES):
            found = _ARCHIVE.match(each.name)
            if found and _normal(found[1]) == name:
                yield PurePosixPath(each.relative_to(folder))


def _is_here(folder: Path, path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts and (folder / path).exists()


def _normal(name: str) -> str:
    """A name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
