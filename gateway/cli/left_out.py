"""Why a file that a model misses was not uploaded: the line of the .gitignore that excludes it.

The gateway has not seen the file, but this folder may have it. So the missing path of a failure is
looked up here.
"""

import re
from pathlib import Path, PurePosixPath

_MISSING = re.compile(r"FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'")
_HOME = "/home/cdsw/"
_MOST_BYTES = 64 * 1024  # of an ignore file


def left_out_hint(folder: Path, problem: str) -> str:
    """A sentence about the file that `problem` names, if `folder` has it and its .gitignore
    excludes it; else ""."""
    if not (found := _MISSING.search(problem)):
        return ""
    path = PurePosixPath(found[1].removeprefix(_HOME))
    if path.is_absolute() or ".." in path.parts or not (folder / path).exists():
        return ""
    line = excluding_line(folder, path)
    return f"{path} was not uploaded, because {line} excludes it." if line else ""


def excluding_line(folder: Path, path: PurePosixPath) -> str:
    """The line of a .gitignore that excludes `path` or a folder above it; else ""."""
    import trio

    from builder.errors import BuilderError
    from builder.snapshot.local_ignore_rules import LocalIgnoreRules

    rules = LocalIgnoreRules(_MOST_BYTES)
    for above in reversed(path.parents):
        inside = "" if str(above) == "." else str(above)
        here = str(PurePosixPath(inside, path.parts[len(PurePosixPath(inside).parts)])).encode()
        try:
            with (folder / inside / ".gitignore").open("rb") as file:
                rules.read(inside.encode(), file)
        except (OSError, BuilderError):
            pass
        is_folder = (folder / here.decode()).is_dir()
        names = ([here], []) if is_folder else ([], [here])
        if found := trio.run(rules.ignored, *names):
            return str(found[here])
    return ""
