"""Which entries of a project's folder belong to its snapshot.

Everything does, but for what the (possibly nested) `.gitignore` files exclude and any entry
called `.git`. We walk the folder ourselves, one level at a time, and ask git only which
names of a level are ignored: a walk by git would stop at nested repositories (gotcha G2 in
README). What a copy cannot carry is refused by name, or listed as left out. Links are read and
never followed, also to find out where they lead: what is outside is nobody's to learn.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import trio
from msgspec import Struct

from builder import ignoring
from builder.beneath import Folder, NotAFile
from builder.errors import SnapshotFailed, SymlinkLeaves
from builder.ignoring import Ignoring
from builder.objects import Changed

Kind = Literal["folder", "file", "executable", "link", "special"]
_MOST_LINKS = 40  # followed on one way, as the kernel has it


class Entry(Struct, frozen=True):
    """One entry; `path` is relative to the project, as the bytes of the file system. `target` is
    what a link says."""

    path: bytes
    kind: Kind
    target: bytes = b""


class Listing(Struct, frozen=True):
    """What belongs to a snapshot, and the paths of pipes, sockets and devices that cannot.

    `levels` holds the entries of the project's root, then those one level deeper each.
    """

    levels: list[list[Entry]]
    left_out: list[str]


async def list_project(root: Folder, ignores: Ignoring, threads: trio.CapacityLimiter) -> Listing:
    """Walk a project; raises SnapshotFailed or SymlinkLeaves."""
    levels: list[list[Entry]] = []
    left_out: list[str] = []
    folders = [b""]
    while folders:
        scan = partial(_scan, root, folders, ignores)
        found = await trio.to_thread.run_sync(scan, limiter=threads)
        inner = [entry.path for entry in found if entry.kind == "folder"]
        others = [entry.path for entry in found if entry.kind != "folder"]
        ignored = await ignores.ignored(inner, others)
        level = [entry for entry in found if entry.path not in ignored]
        levels.append([entry for entry in level if entry.kind != "special"])
        left_out += [shown(entry.path) for entry in level if entry.kind == "special"]
        folders = [entry.path for entry in level if entry.kind == "folder"]
    refuse = partial(_refuse_links_that_leave, levels)
    await trio.to_thread.run_sync(refuse, limiter=threads)
    return Listing(levels, left_out)


def _scan(root: Folder, folders: list[bytes], ignores: Ignoring) -> list[Entry]:
    """The entries of some folders; their ignore files are added to `ignores`."""
    entries: list[Entry] = []
    for path in folders:
        trio.from_thread.check_cancelled()
        with reading(path), root.folder(parts(path)) as folder:
            entries += _entries(folder, path, ignores)
    return entries


def _entries(folder: Folder, path: bytes, ignores: Ignoring) -> Iterator[Entry]:
    for found in folder.entries():
        name = os.fsencode(found.name)
        here = os.path.join(path, name)
        try:
            kind = _kind(found.stat(follow_symlinks=False).st_mode)
        except FileNotFoundError:  # it went while we looked
            continue
        if name == ignoring.NAME:
            if kind in ("folder", "special"):
                raise SnapshotFailed(f"{shown(here)} is not a file")
            if kind != "link":  # which git does not follow either
                with reading(here), folder.open(name) as file:
                    ignores.add(path, file.read(ignoring.MOST_BYTES + 1))
        if name != b".git":
            target = os.fsencode(folder.target(name)) if kind == "link" else b""
            yield Entry(here, kind, target)


@contextmanager
def reading(path: bytes) -> Iterator[None]:
    """Says of what is read in the block what went wrong with it. Raises SnapshotFailed."""
    name = shown(path) or "the project's folder"
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, NotAFile, Changed) as error:
        raise SnapshotFailed(
            f"{name} was taken away, replaced or changed while the snapshot was taken",
            "Build again when nothing changes the project's files.",
        ) from error
    except OSError as error:
        raise SnapshotFailed(
            f"{name} cannot be read: {error.strerror}",
            "Make it readable, or name it in .gitignore.",
        ) from error


def parts(path: bytes) -> list[bytes]:
    """The names that lead to a path."""
    return path.split(b"/") if path else []


def _kind(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISREG(mode):
        return "executable" if mode & stat.S_IXUSR else "file"
    return "special"


def _refuse_links_that_leave(levels: list[list[Entry]]) -> None:
    links = {each.path: each.target for level in levels for each in level if each.kind == "link"}
    leaving = []
    for path in links:
        trio.from_thread.check_cancelled()
        if _leaves(path, links):
            leaving.append(path)
    if leaving:
        raise SymlinkLeaves(f"{shown(path)} -> {shown(links[path])}" for path in leaving)


def _leaves(path: bytes, links: dict[bytes, bytes]) -> bool:
    """Whether a link, or one on its way, is absolute or climbs out of the project. Decided from
    what links say alone. One that leads round in circles leads nowhere."""
    here: list[bytes] = []
    ahead = path.split(b"/")[::-1]
    followed = 0
    while ahead:
        name = ahead.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            if not here:
                return True
            here.pop()
            continue
        target = links.get(b"/".join([*here, name]))
        if target is None:
            here.append(name)
            continue
        followed += 1
        if target.startswith(b"/"):
            return True
        if followed > _MOST_LINKS:
            return False
        ahead += target.split(b"/")[::-1]
    return False


def shown(path: bytes) -> str:
    """A path for people to read, whatever bytes it is made of."""
    return path.decode("utf-8", "backslashreplace")
