"""Stores a project's files in the gateway's git store, byte for byte, and writes them out again.

Neither direction applies `.gitattributes` (line ends, filters, keywords). So predictd writes the
objects itself and reads them by `cat-file`, not by `add` and `checkout` (gotcha G4 of the builder).
Folders without files are kept. The same files give the same tree.

The project may change meanwhile. Then some state of each file is stored, and never the target of a
link (`safe_open.py`).

The work runs in a thread. A cancelled call stops at its next file or level.
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
from builder.reuse.environment_key import TreeEntry
from builder.snapshot.contents import commit_message
from builder.snapshot.ignore_rules import IgnoreRules
from builder.snapshot.project_files import (
    ProjectFile,
    ProjectListing,
    Reachable,
    list_project,
    parts,
    reading,
)
from builder.spec import Log, Run, Snapshot, SnapshotLimits

MODES = {"folder": "40000", "file": "100644", "executable": "100755", "link": "120000"}
CHUNK = 1 << 20  # bytes of a file in memory
# Snapshots of one project wait for each other in threads, so they have threads of their own.
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
    """Store the project's files as one commit, kept by the reference `refs/builds/<name>`.

    `project` is a path without links; links may lead into it, and into the `readable` folders.
    Pipes, sockets, devices, environments and caches are left out. A line in `log` says what the
    snapshot has and what it leaves out. Raises SnapshotFailed, or SymlinkLeaves, which names each
    link.
    """
    try:
        with trio.fail_after(time_limit):
            reachable = Reachable(project, tuple(readable))
            snapshot, listing = await _take(reachable, store, name, run, limits)
    except trio.TooSlowError:
        raise SnapshotFailed(
            f"it took more than {time_limit:g} s",
            "Add files that builds do not need, such as data, to .gitignore.",
        ) from None
    for path in listing.left_out:
        log.write(f"Left out (neither a file nor a folder): {path}")
    log.write(listing.contents.summary())
    return snapshot


async def _take(
    reachable: Reachable, store: Path, name: str, run: Run, limits: SnapshotLimits
) -> tuple[Snapshot, ProjectListing]:
    ignores = IgnoreRules(store.parent.absolute(), run, limits)
    try:
        with await trio.to_thread.run_sync(_open, reachable.project, limiter=_threads) as root:
            listing = await list_project(root, ignores, _threads, reachable, limits.entries)
            work = partial(_store, root, store, name, listing)
            snapshot = await trio.to_thread.run_sync(work, limiter=_threads)
        return snapshot, listing
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(ignores.close)


async def rename_snapshot(snapshot: Snapshot, old: str, new: str) -> None:
    """Keep a snapshot, which has the name `old`, by the name `new` instead."""
    await trio.to_thread.run_sync(partial(_rename, snapshot, old, new), limiter=_threads)


async def drop_snapshot(store: Path, name: str) -> None:
    """Delete a snapshot, if it exists, and the objects that only it used."""
    await trio.to_thread.run_sync(partial(_drop, store, name), limiter=_threads)


def snapshots_in(store: Path) -> list[str]:
    """Return the names of all snapshots. Blocking."""
    folder = store / _reference("")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [name for name in names if not name.endswith(".lock")]  # git's locks


async def tree_of(snapshot: Snapshot) -> str:
    """Return the name of its tree: equal for snapshots of equal files. Raises SnapshotFailed."""
    return await trio.to_thread.run_sync(GitStore(snapshot.store).tree_of, snapshot.commit)


async def read_tree(snapshot: Snapshot) -> tuple[str, list[TreeEntry]]:
    """Return the name of a snapshot's tree, and all entries in it, each folder before its content.
    Raises SnapshotFailed."""
    return await trio.to_thread.run_sync(_read_tree, GitStore(snapshot.store), snapshot.commit)


async def write_out(snapshot: Snapshot, target: Path) -> None:
    """Write a snapshot's files into the folder `target`, which must not exist."""
    await trio.to_thread.run_sync(partial(_write_out, snapshot, target))


def _open(project: Path) -> Folder:
    try:
        return Folder.root(project)
    except (FileNotFoundError, NotADirectoryError) as error:
        text = f"{project.name} is not a folder"
        raise SnapshotFailed(text, "Give the path of the project's folder, without links.") from (
            error
        )


def _store(root: Folder, path: Path, name: str, listing: ProjectListing) -> Snapshot:
    store = GitStore(path.resolve())
    with store.locked():
        with adding(store.path) as objects:
            tree = _store_tree(root, objects, listing.levels)
            message = commit_message(_reference(name), listing.contents)
            commit = _store_commit(objects, tree, message)
            objects.publish()
        store.set_reference(_reference(name), commit)
        # Git syncs the files that it writes, but not their folders.
        sync_file_system(store.path)
    return Snapshot(store.path, commit)


def _rename(snapshot: Snapshot, old: str, new: str) -> None:
    store = GitStore(snapshot.store)
    with store.locked():
        store.set_reference(_reference(new), snapshot.commit)
        store.run("update-ref", "-d", _reference(old))
        sync_file_system(store.path)


def _drop(path: Path, name: str) -> None:
    if (path / _reference(name)).exists():
        store = GitStore(path.resolve())
        with store.locked():
            store.delete_reference(_reference(name))


def _reference(name: str) -> str:
    return f"refs/builds/{name}"


def _store_tree(root: Folder, objects: Objects, levels: list[list[ProjectFile]]) -> str:
    """Store the entries, deepest level first, since a tree names the trees beneath it."""
    lines: defaultdict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
    for level in reversed(levels):
        # The entries of a folder follow each other, so it is opened once.
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
    """Return the line of an entry in the tree of its folder, and the key by which git sorts it."""
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
        # Bytes in memory cannot change between two reads.
        return objects.add_bytes("blob", file.read(size))
    return objects.add("blob", size, lambda: _chunks(file, size))


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file."""
    file.seek(0)
    while size > 0 and (chunk := file.read(min(CHUNK, size))):
        trio.from_thread.check_cancelled()
        size -= len(chunk)
        yield chunk


def _store_commit(objects: Objects, tree: str, message: str) -> str:
    who = f"predictd <predictd@localhost> {int(time.time())} +0000"
    text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n{message}\n"
    return objects.add_bytes("commit", text.encode())


def _read_tree(store: GitStore, commit: str) -> tuple[str, list[TreeEntry]]:
    return store.tree_of(commit), [TreeEntry(*each) for each in store.list_entries(commit)]


def _write_out(snapshot: Snapshot, target: Path) -> None:
    store = GitStore(snapshot.store)
    target.mkdir()
    links = []
    with store.blobs() as blobs:
        for mode, name, path in store.list_entries(snapshot.commit):
            trio.from_thread.check_cancelled()
            full = os.path.join(os.fsencode(target), path)
            if mode == "040000":
                os.mkdir(full)
            elif mode == MODES["link"]:
                links.append((name, full))
            else:
                _write_file(blobs, name, full, 0o755 if mode == MODES["executable"] else 0o644)
        # Links come last, so that no file is written through one.
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
