"""Which parts of the system's folders may be shown, where a folder as a whole may not.

The data folder may lie in one of them (/opt/predictd), and who is root without being told otherwise
could read /etc/shadow. Blocking; looked at once.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path


def without(folder: Path, hidden: Path) -> Iterator[Path]:
    """All of `folder` but `hidden` and what is in it; both are real paths."""
    if not hidden.is_relative_to(folder):
        yield folder
    elif hidden != folder:
        for entry in sorted(folder.iterdir()):
            yield from without(entry, hidden)


def public(folder: Path) -> Iterator[Path]:
    """The largest parts of `folder` in which everything is for everybody to read."""
    yield from map(Path, _public(str(folder)))


def _public(path: str) -> list[str]:
    """[path] where all of it is public. Links are: what they lead to is asked by itself."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        return [path] if mode & stat.S_IROTH else []
    if not mode & stat.S_IROTH or not mode & stat.S_IXOTH:
        return []
    entries = [entry.path for entry in os.scandir(path)]
    parts = [_public(entry) for entry in entries]
    if all(part == [entry] for part, entry in zip(parts, entries, strict=True)):
        return [path]
    return [each for part in parts for each in part if not os.path.islink(each)]
