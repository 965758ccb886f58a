"""Why a file that a model misses was not uploaded: the line of the .gitignore that excludes it.

The gateway has not seen the file, but this folder may have it. So the missing path of a failure is
looked up here.
"""

import re
from pathlib import Path, PurePosixPath

_MISSING = re.compile(r"FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'")
_HOME = "/home/cdsw/"


def left_out_hint(folder: Path, problem: str) -> str:
    """A sentence about the file that `problem` names, if `folder` has it and its .gitignore
    excludes it; else ""."""
    if not (found := _MISSING.search(problem)):
        return ""
    path = PurePosixPath(found[1].removeprefix(_HOME))
    if path.is_absolute() or ".." in path.parts or not (folder / path).exists():
        return ""
    from builder import BuilderError, list_folder

    try:
        rule = list_folder(folder).contents.rule_for(str(path))
    except (BuilderError, OSError):
        return ""
    return f"{path} was not uploaded, because {rule} excludes it." if rule else ""
