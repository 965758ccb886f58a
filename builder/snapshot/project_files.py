"""Which entries of a project's folder belong to its snapshot.

All entries do, except those that the (possibly nested) `.gitignore` files exclude, entries named
`.git`, and environments and caches, since a build has its own. The folder is walked here, one level
at a time. Git only says which names of a level are ignored: a walk by git would stop at nested
repositories (gotcha G2 of the builder). An entry that cannot be copied is refused by name, or
listed as left out. Links are read and never followed, not even to find their targets: a build must
not show files outside the project. An absolute link into the project is stored as a relative one.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import trio
from msgspec import Struct

from builder.errors import SnapshotFailed, SymlinkLeaves
from builder.files.depth import TooDeep, check_depth
from builder.files.safe_open import Folder, NotAFile
from builder.git.objects import ObjectChanged
from builder.snapshot import ignore_rules
from builder.snapshot.contents import MOST_STORED, Contents, Ignored
from builder.snapshot.ignore_rules import IgnoreLine

Kind = Literal["folder", "file", "executable", "link", "special"]
# Environments are recognized by their content, not by their name.
_OF_ENVIRONMENTS = {b"pyvenv.cfg": ("file", "executable"), b"conda-meta": ("folder",)}
_VENV = b"pyvenv.cfg"
# Folders of an environment, and whether they belong to it as a whole if they have files of Python.
_IN_VENVS = {
    b"bin": True,
    b"Scripts": True,
    b"lib": False,
    b"Lib": False,
    b"include": False,
}
# Names of folders that tools make again.
CACHES = (
    b"__pycache__",
    b"node_modules",
    b".ipynb_checkpoints",
    b".mypy_cache",
    b".pytest_cache",
    b".ruff_cache",
    b".tox",
    b".nox",
)
_ADVICE = "Add files that builds do not need, such as data, to .gitignore."
_HOME = b"/home/cdsw"  # the path at which models see their project
_MOST_LINKS = 40  # followed for one path, as in the kernel


class ProjectFile(Struct, frozen=True):
    """One entry. `path` is relative to the project, as bytes; `target` is the target of a link,
    `size` that of a file when it was listed."""

    path: bytes
    kind: Kind
    target: bytes = b""
    size: int = 0


class ProjectListing(Struct, frozen=True):
    """The entries of a snapshot, and what it has and has not. `left_out` are pipes, sockets and
    devices.

    `levels` has the entries of the project's root, then those of each deeper level.
    """

    levels: list[list[ProjectFile]]
    left_out: list[str]
    contents: Contents


class Ignores(Protocol):
    """Says which names the ignore files exclude that it was given."""

    def read(self, folder: bytes, file: BinaryIO) -> None: ...

    async def ignored(
        self, folders: Sequence[bytes], others: Sequence[bytes]
    ) -> Mapping[bytes, IgnoreLine]: ...


class Reachable(Struct, frozen=True):
    """Where absolute links may lead: the project, and folders that every model sees."""

    project: Path
    readable: tuple[Path, ...] = ()

    def inward(self, path: bytes, target: bytes) -> bytes:
        """Return the target of a link at `path`, made relative if it leads into the project."""
        for home in (os.fsencode(self.project), _HOME):
            if target == home or target.startswith(home + b"/"):
                return b"../" * path.count(b"/") + (target[len(home) :].strip(b"/") or b".")
        return target

    def is_shown(self, target: bytes) -> bool:
        folders = (os.fsencode(each).rstrip(b"/") for each in self.readable)
        inside = any(target == each or target.startswith(each + b"/") for each in folders)
        return inside and b".." not in target.split(b"/")


async def list_project(
    root: Folder,
    ignores: Ignores,
    threads: trio.CapacityLimiter,
    reachable: Reachable,
    most: int,
) -> ProjectListing:
    """Walk a project of at most `most` entries. Raises SnapshotFailed, SymlinkLeaves."""
    levels: list[list[ProjectFile]] = []
    left_out: list[str] = []
    made_anew: list[bytes] = []
    excluded: list[Ignored] = []
    folders, number = [b""], 0
    in_root: set[bytes] = set()
    while folders:
        scan = partial(_scan, root, folders, ignores, reachable)
        found, environments = await trio.to_thread.run_sync(scan, limiter=threads)
        if environments:
            levels[-1] = [entry for entry in levels[-1] if entry.path not in environments]
        if any(entry.path == _VENV for entry in found):
            find = partial(_environment_in_root, root, found)
            in_root = await trio.to_thread.run_sync(find, limiter=threads)
        left = {e.path for e in found if _is_cache(e) or e.path in in_root}
        made_anew += [*environments, *left]
        found = [entry for entry in found if entry.path not in left]
        inner = [entry.path for entry in found if entry.kind == "folder"]
        number += len(found)
        _check_size(inner, number, most)
        others = [entry.path for entry in found if entry.kind != "folder"]
        ignored = await ignores.ignored(inner, others)
        level = [entry for entry in found if entry.path not in ignored]
        excluded += [_ignored(entry, ignored) for entry in found if entry.path in ignored]
        levels.append([entry for entry in level if entry.kind != "special"])
        left_out += [shown(entry.path) for entry in level if entry.kind == "special"]
        folders = [entry.path for entry in level if entry.kind == "folder"]
    refuse = partial(_refuse_links_that_leave, levels, reachable)
    await trio.to_thread.run_sync(refuse, limiter=threads)
    return ProjectListing(levels, left_out, _contents(levels, excluded, made_anew))


def _ignored(entry: ProjectFile, lines: Mapping[bytes, IgnoreLine]) -> Ignored:
    path, rule = shown(entry.path), str(lines[entry.path])
    is_file = entry.kind in ("file", "executable")
    name = f"{path}/" if entry.kind == "folder" else path
    return Ignored(name, entry.size if is_file else None, rule)


def _contents(
    levels: list[list[ProjectFile]], excluded: list[Ignored], made_anew: list[bytes]
) -> Contents:
    files = [each for level in levels for each in level if each.kind != "folder"]
    return Contents(
        files=len(files),
        size=sum(each.size for each in files),
        ignored=tuple(excluded[:MOST_STORED]),
        more_ignored=len(excluded[MOST_STORED:]),
        rebuilt=tuple(shown(path) for path in sorted(made_anew)),
    )


def _check_size(folders: list[bytes], number: int, most: int) -> None:
    try:
        for path in folders:
            check_depth(path)
    except TooDeep as error:
        raise SnapshotFailed(str(error.strerror), _ADVICE) from None
    if number > most:
        text = f"there are more than {most:,} files and folders"
        raise SnapshotFailed(text, _ADVICE)


def _scan(
    root: Folder, folders: list[bytes], ignores: Ignores, reachable: Reachable
) -> tuple[list[ProjectFile], set[bytes]]:
    """Return the entries of some folders, and the folders that are environments, whose entries are
    left out. The ignore files are added to `ignores`."""
    entries: list[ProjectFile] = []
    environments: set[bytes] = set()
    for path in folders:
        trio.from_thread.check_cancelled()
        with reading(path), root.folder(parts(path)) as folder:
            here = list(_entries(folder, path, ignores, reachable))
        if path and any(_marks_environment(entry) for entry in here):
            environments.add(path)
        else:
            entries += here
    return entries, environments


def _marks_environment(entry: ProjectFile) -> bool:
    return entry.kind in _OF_ENVIRONMENTS.get(os.path.basename(entry.path), ())


def _environment_in_root(root: Folder, entries: list[ProjectFile]) -> set[bytes]:
    """Return the paths of a virtual environment that was made in the root of the project."""
    found = {_VENV}
    for entry in entries:
        if entry.kind == "link" and entry.path == b"lib64":
            found.add(entry.path)
        elif entry.kind == "folder" and entry.path in _IN_VENVS:
            with reading(entry.path), root.folder([entry.path]) as folder:
                names = [os.fsencode(each.name) for each in folder.entries()]
            inner = {name for name in names if name.startswith((b"python", b"site-packages"))}
            if _IN_VENVS[entry.path] and inner:
                found.add(entry.path)
            else:
                found |= {entry.path + b"/" + name for name in inner}
    return found


def _is_cache(entry: ProjectFile) -> bool:
    return entry.kind == "folder" and os.path.basename(entry.path) in CACHES


def _entries(
    folder: Folder, path: bytes, ignores: Ignores, reachable: Reachable
) -> Iterator[ProjectFile]:
    for found in folder.entries():
        name = os.fsencode(found.name)
        here = os.path.join(path, name)
        try:
            facts = found.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed meanwhile
            continue
        kind = _kind(facts.st_mode)
        if name == ignore_rules.NAME:
            if kind in ("folder", "special"):
                raise SnapshotFailed(f"{shown(here)} is not a regular file")
            if kind != "link":  # git does not follow it either
                with reading(here), folder.open(name) as file:
                    ignores.read(path, file)
        if name != b".git":
            target = os.fsencode(folder.target(name)) if kind == "link" else b""
            yield ProjectFile(here, kind, reachable.inward(here, target), facts.st_size)


@contextmanager
def reading(path: bytes) -> Iterator[None]:
    """Raise SnapshotFailed, with the name of the path, for errors of the block."""
    name = shown(path) or "the project's folder"
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, NotAFile, ObjectChanged) as error:
        raise SnapshotFailed(
            f"{name} was removed, replaced or changed during the snapshot",
            "Build again while no program changes the project's files.",
        ) from error
    except OSError as error:
        raise SnapshotFailed(
            f"cannot read {name}: {error.strerror}",
            "Make it readable, or add it to .gitignore.",
        ) from error


def parts(path: bytes) -> list[bytes]:
    """Split a path into its names."""
    return path.split(b"/") if path else []


def _kind(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISREG(mode):
        return "executable" if mode & stat.S_IXUSR else "file"
    return "special"


def _refuse_links_that_leave(levels: list[list[ProjectFile]], reachable: Reachable) -> None:
    links = {each.path: each.target for level in levels for each in level if each.kind == "link"}
    leaving = []
    for path in links:
        trio.from_thread.check_cancelled()
        if _leaves(path, links, reachable):
            leaving.append(path)
    if leaving:
        raise SymlinkLeaves(f"{shown(path)} -> {shown(links[path])}" for path in leaving)


def _leaves(path: bytes, links: dict[bytes, bytes], reachable: Reachable) -> bool:
    """Whether a link, directly or by other links, leads outside the project and the shared folders.

    The targets of links decide, not the file system. A cycle of links does not lead outside.
    """
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
            return not reachable.is_shown(target) or b".." in ahead
        if followed > _MOST_LINKS:
            return False
        ahead += target.split(b"/")[::-1]
    return False


def shown(path: bytes) -> str:
    """Return a path as text for messages."""
    return path.decode("utf-8", "backslashreplace")
