"""Folders that are complete or absent: builds, and the environments that they run in.

Each lies under its id, and is made where it stays, so an unfinished one lies beside finished ones.
Only the file `sealed` tells them apart. It gets its name last, after everything before it and its
own bytes have reached the disk, and it is removed first. So whenever the machine stops, a folder
with a seal is complete. What is sealed never changes.

A seal that cannot be read was damaged later: no kill and no power cut leaves one. Such a folder is
not used, and not removed either; `damage` returns the reason.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import trio
from msgspec import Struct

from builder.errors import ScriptFailed
from builder.files.depth import TooDeep, check_depth
from builder.files.fsync import sync_file_system, sync_folder
from builder.files.remove_tree import remove_tree
from builder.files.small_file import read_small_file

M = TypeVar("M", bound=Struct)

SEAL = "sealed"
# The most bytes of a seal: some paths and dates.
_SEAL_BYTES = 64 * 1024
# Raised by a seal that cannot be read or decoded.
_UNREADABLE = (OSError, ValueError, RecursionError)
# For all users.
_READABLE, _ENTERED = 0o444, 0o111
_SET_BY_PROGRAMS = ("system.posix_acl_", "user.")


class SealedFolders(Generic[M]):
    """The folders beneath `root`. Their seals have manifests of one kind."""

    def __init__(self, root: Path, manifest: type[M]) -> None:
        self.root = root
        self._manifest_type = manifest

    def folder(self, name: str) -> Path:
        """Return the folder of an id, which may not exist yet."""
        return self.root / name

    def sealed(self, name: str) -> M | None:
        """Return the manifest of a sealed folder, or None where it is unfinished, missing or
        damaged."""
        try:
            return self._manifest(name)
        except _UNREADABLE:
            return None

    def damage(self, name: str) -> str:
        """Return why a seal cannot be read; "" where it can be, or where there is none."""
        try:
            self._manifest(name)
        except _UNREADABLE as error:
            return getattr(error, "strerror", None) or str(error)
        return ""

    def _manifest(self, name: str) -> M | None:
        """None where there is no seal. Raises _UNREADABLE."""
        try:
            text = read_small_file(self.folder(name) / SEAL, _SEAL_BYTES)
        except FileNotFoundError:
            if self.folder(name).is_symlink():
                raise OSError("its folder is a link") from None
            return None
        return msgspec.json.decode(text, type=self._manifest_type)

    def names(self) -> list[str]:
        """Return all names beneath `root`, sealed or not. Blocking."""
        return sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []

    async def remove(self, name: str) -> None:
        """Remove a folder, if it exists."""
        await remove_sealed(self.folder(name))


async def seal(folder: Path, manifest: Struct) -> None:
    """Seal a folder: after the return it survives a power cut. Raises OSError."""
    await trio.to_thread.run_sync(partial(_seal, folder, manifest))


async def remove_sealed(folder: Path) -> None:
    """Remove a folder with a seal or without, including all files of a script."""
    await trio.to_thread.run_sync(partial(_remove, folder))


def _seal(folder: Path, manifest: Struct) -> None:
    # All at once: there are thousands of files.
    sync_file_system(folder)
    if (folder / SEAL).exists():
        raise FileExistsError(f"{folder} is already sealed")
    fresh = folder / f"{SEAL}.new"
    with fresh.open("xb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / SEAL)
    sync_folder(folder)


def take_over(*folders: Path) -> None:
    """Make the files that a script has written ours, and refuse what cannot be sealed: folders that
    are too deep, and files that have another name outside `folders`. Blocking. Raises ScriptFailed,
    OSError."""
    try:
        for folder in folders:
            take_ownership(folder)
        _refuse_outside_links(folders)
    except TooDeep as error:
        raise ScriptFailed(
            "The build cannot be sealed",
            f"its script left folders that are too deep: {error.strerror}",
            "Make the script remove these folders.",
        ) from None


def take_ownership(folder: Path) -> None:
    """Make the gateway's account the owner of the files of a program, readable for all users.

    Access lists are removed: a file that projects share must not refuse one of their users. Only
    root can, and only root runs programs as another user. Blocking. Raises TooDeep, OSError.
    """
    if os.geteuid() != 0:
        return
    for _, folders, files, here in _walk(folder):
        os.fchown(here, 0, 0)
        for name in (*folders, *files):
            os.chown(name, 0, 0, dir_fd=here, follow_symlinks=False)
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            try:
                _open_up(entry)
            finally:
                os.close(entry)


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str], int]]:
    """`os.fwalk` with a limit of depth, since it recurses and keeps each parent open. Raises
    TooDeep."""
    for path, folders, files, here in os.fwalk(folder):
        check_depth(os.path.relpath(path, folder))
        yield path, folders, files, here


def _refuse_outside_links(trees: tuple[Path, ...]) -> None:
    """Refuse a file that has another name outside the trees, such as in pip's cache.

    Later builds could change the file there. Under a mount namespace no script can make such a
    link; with Landlock alone it can. Blocking. Raises ScriptFailed.
    """
    names: Counter[tuple[int, int]] = Counter()
    linked: dict[tuple[int, int], tuple[int, str]] = {}
    for tree in trees:
        for path, _, files, here in _walk(tree):
            for name in files:
                found = os.stat(name, dir_fd=here, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                    file = found.st_dev, found.st_ino
                    names[file] += 1
                    shown = os.path.relpath(os.path.join(path, name), tree.parent)
                    linked[file] = found.st_nlink, shown
    for file, (links, shown) in linked.items():
        if links > names[file]:
            raise ScriptFailed(
                "The build cannot be sealed",
                f"its script made a hard link to {shown} outside the build",
                "Make the script copy files instead; for uv, set UV_LINK_MODE=copy.",
            )


def _open_up(entry: int) -> None:
    mode = os.fstat(entry).st_mode
    if not stat.S_ISLNK(mode):
        path = f"/proc/self/fd/{entry}"
        for name in _listed(path):
            os.removexattr(path, name)
        more = _READABLE | (_ENTERED if stat.S_ISDIR(mode) else 0)
        os.chmod(path, stat.S_IMODE(mode) | more)


def _listed(path: str) -> list[str]:
    """The extended attributes that a program can set: access lists, and its own."""
    try:
        return [name for name in os.listxattr(path) if name.startswith(_SET_BY_PROGRAMS)]
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        if (folder / SEAL).exists() and not (folder / SEAL).is_dir():
            (folder / SEAL).unlink()
            # Else the seal could be back after a power cut, and the files not.
            sync_folder(folder)
        remove_tree(folder)
