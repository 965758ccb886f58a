"""The folder that has the builds, each under its id.

A build is made where it stays, so an unfinished build lies beside finished ones. Only the file
`sealed` tells them apart. It gets its name last, after everything before it and its own bytes have
reached the disk, and it is removed first. So whenever the machine stops, a folder with a seal is
complete. A sealed build never changes.

A seal that cannot be read was damaged later: no kill and no power cut leaves one. Such a build is
not served, and not removed either; `damage` returns the reason.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from builder.errors import ScriptFailed
from builder.files.depth import TooDeep, check_depth
from builder.files.fsync import sync_file_system, sync_folder
from builder.files.remove_tree import remove_tree
from builder.files.small_file import read_small_file

SEAL = "sealed"
LOCK = "pylock.toml"
_ASIDE = ".aside"
# The most bytes of a seal: some paths and dates.
_SEAL_BYTES = 64 * 1024
# Raised by a seal that cannot be read or decoded.
_UNREADABLE = (OSError, ValueError, RecursionError)
# For all users.
_READABLE, _ENTERED = 0o444, 0o111


class Manifest(Struct, frozen=True, kw_only=True):
    """What a sealed build was made from, and when.

    `prefix` is the interpreter's folder, which each process in the build's environment needs.
    `home` is the path at which the script saw the project: absolute paths that it wrote lead there.
    """

    commit: str
    file: str
    function: str
    model_root: str
    script: str
    interpreter: str
    prefix: str
    home: str
    version: str
    started_at: str
    sealed_at: str


class BuildStore:
    """The builds beneath `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, build: str) -> Path:
        """Return the folder of a build, which may not exist yet."""
        return self.root / build

    def sealed(self, build: str) -> Manifest | None:
        """Return the manifest of a sealed build, or None where it is unfinished, missing or
        damaged."""
        try:
            return self._manifest(build)
        except _UNREADABLE:
            return None

    def damage(self, build: str) -> str:
        """Return why the seal of a build cannot be read; "" where it can be, or where there is
        none."""
        try:
            self._manifest(build)
        except _UNREADABLE as error:
            return getattr(error, "strerror", None) or str(error)
        return ""

    def _manifest(self, build: str) -> Manifest | None:
        """None where there is no seal. Raises _UNREADABLE."""
        try:
            text = read_small_file(self.folder(build) / SEAL, _SEAL_BYTES)
        except FileNotFoundError:
            if self.folder(build).is_symlink():
                raise OSError("its folder is a link") from None
            return None
        return msgspec.json.decode(text, type=Manifest)

    def has_interpreter(self, build: str) -> bool:
        """Whether the interpreter of a build's environment still exists."""
        return os.access(self.folder(build) / "environment" / "bin" / "python", os.X_OK)

    def prefix(self, build: str) -> Path | None:
        """Return the folder of a sealed build's interpreter, from its manifest: the build's own
        files may have been changed by its script."""
        manifest = self.sealed(build)
        return Path(manifest.prefix) if manifest else None

    async def remove(self, build: str) -> None:
        """Remove a build, if it exists."""
        await remove_build(self.folder(build))

    async def park(self, build: str) -> None:
        """Move a build aside before it is rebuilt; `put_back` ends this."""
        await trio.to_thread.run_sync(_rename, self.folder(build), self._aside(build))

    async def unpark(self, build: str) -> None:
        """Restore the build that was set aside, unless the new one is sealed."""
        if self.sealed(build) is not None:
            await remove_build(self._aside(build))
        elif self._aside(build).exists():
            await self.remove(build)
            await trio.to_thread.run_sync(_rename, self._aside(build), self.folder(build))

    def aside(self) -> list[str]:
        """Return the builds that were still set aside when the gateway ended. Blocking."""
        return [path.name.removesuffix(_ASIDE) for path in self.root.glob(f"*{_ASIDE}")]

    def names(self) -> list[str]:
        """Return all names in this folder, sealed or not. Blocking."""
        return sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []

    def _aside(self, build: str) -> Path:
        return self.root / f"{build}{_ASIDE}"


async def seal_build(folder: Path, manifest: Manifest, lock: str = "") -> None:
    """Seal a build, with the lock of its environment: after the return it survives a power cut.
    Raises ScriptFailed, OSError."""
    await trio.to_thread.run_sync(partial(_seal, folder, manifest, lock))


async def remove_build(folder: Path) -> None:
    """Remove the folder of a build, including all files of its script."""
    await trio.to_thread.run_sync(partial(_remove, folder))


def _rename(old: Path, new: Path) -> None:
    """Rename durably, if `old` exists."""
    with suppress(FileNotFoundError):
        old.rename(new)
        sync_folder(old.parent)


def _seal(folder: Path, manifest: Manifest, lock: str) -> None:
    try:
        take_ownership(folder)
        _refuse_outside_links(folder)
    except TooDeep as error:
        raise ScriptFailed(
            "The build cannot be sealed",
            f"its script left folders that are too deep: {error.strerror}",
            "Make the script remove these folders.",
        ) from None
    if lock:
        (folder / LOCK).write_text(lock)
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


def take_ownership(folder: Path) -> None:
    """Make the gateway's account the owner of the files of a program, readable for all users.

    Only root can, and only root runs programs as another user. Blocking. Raises TooDeep, OSError.
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


def _refuse_outside_links(folder: Path) -> None:
    """Refuse a build with a file that has another name outside the build, such as in pip's cache.

    Later builds could change the file there. Under a mount namespace no script can make such a
    link; with Landlock alone it can. Blocking. Raises ScriptFailed.
    """
    names: Counter[tuple[int, int]] = Counter()
    linked: dict[tuple[int, int], tuple[int, str]] = {}
    for path, _, files, here in _walk(folder):
        for name in files:
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                file = found.st_dev, found.st_ino
                names[file] += 1
                linked[file] = found.st_nlink, os.path.relpath(os.path.join(path, name), folder)
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
        more = _READABLE | (_ENTERED if stat.S_ISDIR(mode) else 0)
        os.chmod(f"/proc/self/fd/{entry}", stat.S_IMODE(mode) | more)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        if (folder / SEAL).exists() and not (folder / SEAL).is_dir():
            (folder / SEAL).unlink()
            # Else the seal could be back after a power cut, and the files not.
            sync_folder(folder)
        remove_tree(folder)
