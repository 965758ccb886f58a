"""Takes a project's files into our own git store, byte for byte, and writes them out again.

Neither way knows attributes: what `.gitattributes` says about line ends, filters or
keywords changes nothing in what is stored nor in what is written out. That is why this is
`hash-object --no-filters`, `mktree` and `cat-file`, and not `add` and `checkout` (gotcha G4 in
README). Folders without files are kept. The same files give the same tree.

The work is done in a thread. A cancelled call stops at its next file or level.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import trio

from builder.errors import SnapshotFailed
from builder.git_store import BlobReader, GitStore
from builder.lasting import sync_file_system
from builder.listing import Entry, list_project
from builder.spec import Log, Snapshot

MODES = {"folder": "40000", "file": "100644", "executable": "100755", "link": "120000"}
AT_ONCE = 1000  # files stored between two looks at whether we are cancelled
# Snapshots of one project wait for each other, in threads: not in those that all others need.
_threads = trio.CapacityLimiter(4)


async def take_snapshot(project: Path, store: Path, name: str, log: Log | None = None) -> Snapshot:
    """Store the project's files as one commit, kept alive by the reference `refs/builds/<name>`.

    Pipes, sockets and devices are left out, with a line in `log`. Raises SnapshotFailed, or its
    kinds SymlinkLeaves or NamesRefused, which name each file.
    """
    work = partial(_take, project, store, name)
    snapshot, left_out = await trio.to_thread.run_sync(work, limiter=_threads)
    if log is not None:
        for path in left_out:
            log.write(f"Left out, since it is neither a file nor a folder: {path}")
    return snapshot


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


def _take(project: Path, path: Path, name: str) -> tuple[Snapshot, list[str]]:
    project = project.resolve()
    if not project.is_dir():
        raise SnapshotFailed(f"{project} is not a folder", "Give the folder of the project.")
    store = GitStore(path.resolve())
    with store.locked():
        listing = list_project(project, store)
        levels = listing.levels
        blobs = _store_files(store, project, levels) | _store_links(store, project, levels)
        commit = store.commit(_store_tree(store, levels, blobs), _reference(name))
        # Git syncs what it writes, but not the folders in which that gets its name.
        sync_file_system(store.path)
    return Snapshot(store.path, commit), listing.left_out


def _drop(path: Path, name: str) -> None:
    if path.exists():
        store = GitStore(path.resolve())
        with store.locked():
            store.forget(_reference(name))


def _reference(name: str) -> str:
    return f"refs/builds/{name}"


def _store_files(store: GitStore, project: Path, levels: list[list[Entry]]) -> dict[bytes, str]:
    paths = [entry.path for entry in _of_kind(levels, "file", "executable")]
    blobs: dict[bytes, str] = {}
    for start in range(0, len(paths), AT_ONCE):
        trio.from_thread.check_cancelled()
        some = paths[start : start + AT_ONCE]
        names = store.store_files(project, some)
        blobs |= dict(zip(some, names, strict=True))
    return blobs


def _store_links(store: GitStore, project: Path, levels: list[list[Entry]]) -> dict[bytes, str]:
    """A link is stored as a blob that holds its target."""
    paths = [entry.path for entry in _of_kind(levels, "link")]
    with tempfile.TemporaryDirectory(dir=store.path, prefix="links-") as scratch:
        targets = [Path(scratch, str(number)) for number in range(len(paths))]
        for path, target in zip(paths, targets, strict=True):
            target.write_bytes(os.readlink(os.path.join(os.fsencode(project), path)))
        names = store.store_files(project, [os.fsencode(target) for target in targets])
    return dict(zip(paths, names, strict=True))


def _store_tree(store: GitStore, levels: list[list[Entry]], blobs: dict[bytes, str]) -> str:
    """Store the folders, deepest level first, since a tree names the trees beneath it."""
    names = dict(blobs)
    lines: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for level in reversed(levels):
        folders = [entry.path for entry in level if entry.kind == "folder"]
        trees = store.store_trees([lines[folder] for folder in folders])
        names |= dict(zip(folders, trees, strict=True))
        for entry in level:
            folder, name = os.path.split(entry.path)
            kind = "tree" if entry.kind == "folder" else "blob"
            facts = f"{MODES[entry.kind]} {kind} {names[entry.path]}\t"
            lines[folder].append(facts.encode() + name)
    return store.store_trees([lines[b""]])[0]


def _of_kind(levels: list[list[Entry]], *kinds: str) -> Iterator[Entry]:
    return (entry for level in levels for entry in level if entry.kind in kinds)


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
