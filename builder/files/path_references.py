"""Finds files of a build that contain the path at which the build's script saw its project."""

import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

# Files that record where they were made, but do not depend on it.
_HARMLESS = (".pyc", "/direct_url.json")
# A search in more bytes at once would hold Python's lock for long.
_BLOCK = 256 * 1024


def find_path_reference(path: str, *, code: Path, virtualenv: Path) -> str:
    """Return the first regular file of a build that contains `path`, or link in its virtual
    environment, as "code/..." or "environment/..."; "" if there is none. Blocking: reads all
    files. Raises OSError."""
    # Links in the code are rewritten when it is copied.
    for tree, shown, links in ((code, "code", False), (virtualenv, "environment", True)):
        if named := names_path(tree, path, links=links):
            return os.path.join(shown, named)
    return ""


def names_path(tree: Path, path: str, *, links: bool = True) -> str:
    """Return the first regular file in `tree` that contains `path`, or link to it, relative to
    `tree`; "" if there is none. Blocking: reads all files. Raises OSError."""
    wanted = os.fsencode(path)
    for entry in _entries(tree):
        if entry.is_symlink():
            named = links and wanted in os.fsencode(os.readlink(entry.path))
        else:
            named = not entry.path.endswith(_HARMLESS) and _names(entry.path, wanted)
        if named:
            return os.path.relpath(entry.path, tree)
    return ""


def _entries(tree: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield all links and regular files."""
    ahead = [str(tree)]
    while ahead:
        with os.scandir(ahead.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    ahead.append(entry.path)
                elif entry.is_symlink() or stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    yield entry


def _names(path: str, wanted: bytes) -> bool:
    with open(path, "rb", buffering=0) as file:
        return any(wanted in block for block in _blocks(file, len(wanted)))


def _blocks(file: FileIO, overlap: int) -> Iterator[bytes]:
    before = b""
    while block := file.read(_BLOCK):
        yield before + block
        before = block[-overlap:]
