"""Takes a project's files into our own git store, byte for byte, and writes them out again.

Neither way knows attributes: what `.gitattributes` says about line ends, filters or
keywords changes nothing in what is stored nor in what is written out. That is why objects are
written by us and read by `cat-file`, and not by `add` and `checkout` (gotcha G4 in README). Folders
without files are kept. The same files give the same tree.

The project may be changed while we read it. What is stored is then some state of each
file, and never what a link leads to (`safe_open.py`).

The work is done in a thread. A cancelled call stops at its next file or level.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import trio

from builder.errors import SnapshotFailed
from builder.files.fsync import sync_file_system
from builder.files.safe_open import Folder
from builder.git.git_store import BlobReader, GitStore
from builder.git.objects import Objects, adding
from builder.snapshot.ignore_rules import Ignoring
from builder.snapshot.project_files import (
    Listing,
    ProjectFile,
    Reachable,
    list_project,
    parts,
    reading,
)
from builder.spec import Log, Run, Snapshot, SnapshotLimits

MODES = {"folder": "40000", "file": "100644", "executable": "100755", "link": "120000"}
_NAMED = 5  # of what is left out by itself
CHUNK = 1 << 20  # what is held of a file
# Snapshots of one project wait for each other, in threads: not in those that all others need.
_threads = trio.CapacityLimiter(4)
_LIMITS = SnapshotLimits()


async def take_snapshot(
    project: Path,
    store: Path,
    name: str,
    log: Log,
    *,
    run: Run,
    readable: Sequence[Path] = (),
    time_limit: float = 600.0,
    limits: SnapshotLimits = _LIMITS,
) -> Snapshot:
    """Store the project's files as one commit, kept alive by the reference `refs/builds/<name>`.

    `project` is a path without links; links may lead into it, and into the `readable` folders.
    Pipes, sockets and devices are left out, as are environments and caches, with a line in `log`.
    Raises SnapshotFailed, or its kind SymlinkLeaves, which names each.
    """
    try:
        with trio.fail_after(time_limit):
            reachable = Reachable(project, tuple(readable))
            snapshot, listing = await _take(reachable, store, name, run, limits)
    except trio.TooSlowError:
        raise SnapshotFailed(
            f"it took longer than {time_limit:g} seconds",
            "Name in .gitignore what builds do not need, such as data.",
        ) from None
    for path in listing.left_out:
        log.write(f"Left out, since it is neither a file nor a folder: {path}")
    if anew := listing.made_anew:
        more = f" and {len(anew) - _NAMED} more" if len(anew) > _NAMED else ""
        log.write(f"Left out, since a build has its own: {', '.join(anew[:_NAMED])}{more}")
    return snapshot


async def _take(
    reachable: Reachable, store: Path, name: str, run: Run, limits: SnapshotLimits
) -> tuple[Snapshot, Listing]:
    ignores = Ignoring(store.parent.absolute(), run, limits)
    try:
        with await trio.to_thread.run_sync(_open, reachable.project, limiter=_threads) as root:
            listing = await list_project(root, ignores, _threads, reachable, limits.entries)
            work = partial(_store, root, store, name, listing.levels)
            snapshot = await trio.to_thread.run_sync(work, limiter=_threads)
        return snapshot, listing
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(ignores.close)


async def drop_snapshot(store: Path, name: str) -> None:
    """Let go of a snapshot and free what only it held; no matter if it is not there."""
    await trio.to_thread.run_sync(partial(_drop, store, name), limiter=_threads)


def snapshots_in(store: Path) -> list[str]:
    """The names of the snapshots that are kept alive. Blocking."""
    folder = store / _reference("")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [name for name in names if not name.endswith(".lock")]  # git's own, of one it changes


async def tree_of(snapshot: Snapshot) -> str:
    """The name of what is in it: equal for snapshots of equal files. Raises SnapshotFailed."""
    return await trio.to_thread.run_sync(GitStore(snapshot.store).tree_of, snapshot.commit)


async def write_out(snapshot: Snapshot, target: Path) -> None:
    """Write a snapshot's files into the folder `target`, which must not exist."""
    await trio.to_thread.run_sync(partial(_write_out, snapshot, target))


def _open(project: Path) -> Folder:
    try:
        return Folder.root(project)
    except (FileNotFoundError, NotADirectoryError) as error:
        text = f"{project.name} is not a folder"
        raise SnapshotFailed(
            text, "Give the folder of the project, by a path without links."
        ) from (error)


def _store(root: Folder, path: Path, name: str, levels: list[list[ProjectFile]]) -> Snapshot:
    store = GitStore(path.resolve())
    with store.locked():
        with adding(store.path) as objects:
            commit = _store_commit(objects, _store_tree(root, objects, levels), _reference(name))
            objects.publish()
        store.refer(_reference(name), commit)
        # Git syncs what it writes, but not the folders in which that gets its name.
        sync_file_system(store.path)
    return Snapshot(store.path, commit)


def _drop(path: Path, name: str) -> None:
    if path.exists():
        store = GitStore(path.resolve())
        with store.locked():
            store.forget(_reference(name))


def _reference(name: str) -> str:
    return f"refs/builds/{name}"


def _store_tree(root: Folder, objects: Objects, levels: list[list[ProjectFile]]) -> str:
    """Store the entries, deepest level first, since a tree names the trees beneath it."""
    lines: defaultdict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
    for level in reversed(levels):
        # The entries of a folder stand in a row: it is opened once for all of them.
        for path, entries in groupby(level, key=lambda entry: os.path.dirname(entry.path)):
            with reading(path), root.folder(parts(path)) as folder:
                for entry in entries:
                    trio.from_thread.check_cancelled()
                    beneath = lines.pop(entry.path, [])
                    lines[path].append(_line(folder, objects, entry, beneath))
    return _add_tree(objects, lines[b""])


def _line(
    folder: Folder, objects: Objects, entry: ProjectFile, beneath: list[tuple[bytes, bytes]]
) -> tuple[bytes, bytes]:
    """An entry's line in the tree of its folder, and the key by which git sorts it there."""
    name = os.path.basename(entry.path)
    if entry.kind == "folder":
        stored = _add_tree(objects, beneath)
    elif entry.kind == "link":
        stored = objects.add_bytes("blob", entry.target)
    else:
        with reading(entry.path), folder.open(name) as file:
            stored = _add_file(objects, file)
    line = MODES[entry.kind].encode() + b" " + name + b"\0" + bytes.fromhex(stored)
    return name + b"/" if entry.kind == "folder" else name, line


def _add_tree(objects: Objects, lines: list[tuple[bytes, bytes]]) -> str:
    return objects.add_bytes("tree", b"".join(line for _, line in sorted(lines)))


def _add_file(objects: Objects, file: BinaryIO) -> str:
    size = os.fstat(file.fileno()).st_size
    if size <= CHUNK:
        # What is held is the same when it is looked at again.
        return objects.add_bytes("blob", file.read(size))
    return objects.add("blob", size, lambda: _chunks(file, size))


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The bytes that a file had when its size was looked at."""
    file.seek(0)
    while size > 0 and (chunk := file.read(min(CHUNK, size))):
        trio.from_thread.check_cancelled()
        size -= len(chunk)
        yield chunk


def _store_commit(objects: Objects, tree: str, message: str) -> str:
    who = f"predictd <predictd@localhost> {int(time.time())} +0000"
    text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n{message}\n"
    return objects.add_bytes("commit", text.encode())


def _write_out(snapshot: Snapshot, target: Path) -> None:
    store = GitStore(snapshot.store)
    target.mkdir()
    links = []
    with store.blobs() as blobs:
        for mode, name, path in store.listing(snapshot.commit):
            trio.from_thread.check_cancelled()
            full = os.path.join(os.fsencode(target), path)
            if mode == "040000":
                os.mkdir(full)
            elif mode == MODES["link"]:
                links.append((name, full))
            else:
                _write_file(blobs, name, full, 0o755 if mode == MODES["executable"] else 0o644)
        # Links come last, so that nothing is ever written through one.
        for name, full in links:
            _write_link(blobs, name, full)


def _write_file(blobs: BlobReader, name: str, path: bytes, mode: int) -> None:
    with open(path, "xb") as file:
        blobs.copy(name, file)
        os.fchmod(file.fileno(), mode)


def _write_link(blobs: BlobReader, name: str, path: bytes) -> None:
    target = BytesIO()
    blobs.copy(name, target)
    os.symlink(target.getvalue(), path)
