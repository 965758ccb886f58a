"""Which entries of a project's folder belong to its snapshot.

Everything does, but for what the (possibly nested) `.gitignore` files exclude and any entry
called `.git`. We walk the folder ourselves, one level at a time, and ask git only which
names of a level are ignored: a walk by git would stop at nested repositories (gotcha G2 in
README). What a copy cannot carry is refused by name, or listed as left out.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import trio
from msgspec import Struct

from builder.errors import NamesRefused, SnapshotFailed, SymlinkLeaves
from builder.git_store import GitStore

Kind = Literal["folder", "file", "executable", "link", "special"]


class Entry(Struct, frozen=True):
    """One entry; `path` is relative to the project, as the bytes of the file system."""

    path: bytes
    kind: Kind


class Listing(Struct, frozen=True):
    """What belongs to a snapshot, and the paths of pipes, sockets and devices that cannot.

    `levels` holds the entries of the project's root, then those one level deeper each.
    """

    levels: list[list[Entry]]
    left_out: list[str]


def list_project(project: Path, store: GitStore) -> Listing:
    """Walk a project; raises SnapshotFailed, NamesRefused or SymlinkLeaves."""
    root = os.fsencode(project)
    levels: list[list[Entry]] = []
    left_out: list[str] = []
    folders = [b""]
    while folders:
        trio.from_thread.check_cancelled()
        found = [entry for folder in folders for entry in _entries(root, folder)]
        ignored = store.ignored(project, [entry.path for entry in found])
        level = [entry for entry in found if entry.path not in ignored]
        levels.append([entry for entry in level if entry.kind != "special"])
        left_out += [shown(entry.path) for entry in level if entry.kind == "special"]
        folders = [entry.path for entry in level if entry.kind == "folder"]
    everything = [entry for level in levels for entry in level]
    _refuse_line_breaks(everything)
    _refuse_links_that_leave(root, everything)
    return Listing(levels, left_out)


def _entries(root: bytes, folder: bytes) -> Iterator[Entry]:
    try:
        with os.scandir(os.path.join(root, folder)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise SnapshotFailed(
            f"{shown(folder) or 'the folder'} cannot be read: {error.strerror}",
            "Make it readable, or name it in .gitignore.",
        ) from error
    for entry in entries:
        path = os.path.join(folder, entry.name)
        kind = _kind(entry.stat(follow_symlinks=False).st_mode)
        if entry.name == b".gitignore" and kind in ("folder", "special"):
            # Gotcha G9 in README: git would wait for ever at the end of a pipe.
            raise SnapshotFailed(f"{shown(path)} is not a file")
        if entry.name != b".git":
            yield Entry(path, kind)


def _kind(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISREG(mode):
        return "executable" if mode & stat.S_IXUSR else "file"
    return "special"


def _refuse_line_breaks(entries: list[Entry]) -> None:
    names = [shown(entry.path) for entry in entries if b"\n" in entry.path or b"\r" in entry.path]
    if names:
        raise NamesRefused(names)


def _refuse_links_that_leave(root: bytes, entries: list[Entry]) -> None:
    leaving = []
    for entry in entries:
        if entry.kind == "link":
            link = os.path.join(root, entry.path)
            target = os.readlink(link)
            if os.path.isabs(target) or not _beneath(root, os.path.realpath(link)):
                leaving.append(f"{shown(entry.path)} -> {shown(target)}")
    if leaving:
        raise SymlinkLeaves(leaving)


def _beneath(root: bytes, path: bytes) -> bool:
    return os.path.commonpath([root, path]) == root


def shown(path: bytes) -> str:
    """A path for people to read, whatever bytes it is made of."""
    return path.decode("utf-8", "backslashreplace")
