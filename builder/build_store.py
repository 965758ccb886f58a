"""The folder in which builds stand, each under its id.

A build is made where it stays, so an unfinished one lies beside the finished ones. Only the
file `sealed` tells them apart: it gets its name last, once everything before it and its own bytes
have reached the disk, and it is the first thing to go. So at whatever instant the machine stops, a
folder with a seal is whole. A sealed build is never changed.

A seal that is there but cannot be read was damaged later: no kill and no loss of power leaves one.
Such a build is not served, and not removed either: `damage` says what is wrong.
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
from builder.files.small_file import read_plain

SEAL = "sealed"
_ASIDE = ".aside"
# Of a seal, in bytes: some paths and dates.
_SEAL_BYTES = 64 * 1024
# What a seal that cannot be read, or decoded, raises.
_UNREADABLE = (OSError, ValueError, RecursionError)
# For everybody.
_READABLE, _ENTERED = 0o444, 0o111


class Manifest(Struct, frozen=True, kw_only=True):
    """What a sealed build was made from, and when. `prefix` is the interpreter's folder, which
    each process that runs in the build's environment has to see; `home` is where its script saw the
    project: absolute paths that it wrote lead there."""

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
        """Where a build stands, or will."""
        return self.root / build

    def sealed(self, build: str) -> Manifest | None:
        """The manifest of a whole build, or None when it is not whole, not there or damaged."""
        try:
            return self._manifest(build)
        except _UNREADABLE:
            return None

    def damage(self, build: str) -> str:
        """Why the seal of a build cannot be read; "" where it can be, and where there is none."""
        try:
            self._manifest(build)
        except _UNREADABLE as error:
            return getattr(error, "strerror", None) or str(error)
        return ""

    def _manifest(self, build: str) -> Manifest | None:
        """None where there is no seal. Raises _UNREADABLE."""
        try:
            text = read_plain(self.folder(build) / SEAL, _SEAL_BYTES)
        except FileNotFoundError:
            if self.folder(build).is_symlink():
                raise OSError("its folder is a link") from None
            return None
        return msgspec.json.decode(text, type=Manifest)

    def runs(self, build: str) -> bool:
        """Whether the interpreter that a build's environment leads to is there."""
        return os.access(self.folder(build) / "environment" / "bin" / "python", os.X_OK)

    def prefix(self, build: str) -> Path | None:
        """The folder of a whole build's interpreter, as recorded when the build was made: what the
        build itself says of that is its script's word."""
        manifest = self.sealed(build)
        return Path(manifest.prefix) if manifest else None

    async def remove(self, build: str) -> None:
        """Take a build away; no matter if it is not there."""
        await remove_build(self.folder(build))

    async def set_aside(self, build: str) -> None:
        """Makes way for another making of a build, which `put_back` ends."""
        await trio.to_thread.run_sync(_rename, self.folder(build), self._aside(build))

    async def put_back(self, build: str) -> None:
        """What was set aside, unless a new one is whole; no matter if nothing was."""
        if self.sealed(build) is not None:
            await remove_build(self._aside(build))
        elif self._aside(build).exists():
            await self.remove(build)
            await trio.to_thread.run_sync(_rename, self._aside(build), self.folder(build))

    def aside(self) -> list[str]:
        """The builds that were set aside when an earlier gateway ended. Blocking."""
        return [path.name.removesuffix(_ASIDE) for path in self.root.glob(f"*{_ASIDE}")]

    def names(self) -> list[str]:
        """Whatever there is here, whole or not. Blocking."""
        return sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []

    def _aside(self, build: str) -> Path:
        return self.root / f"{build}{_ASIDE}"


async def seal_build(folder: Path, manifest: Manifest) -> None:
    """Make a build whole and lasting: when this returns it survives the loss of power. Raises
    ScriptFailed, OSError."""
    await trio.to_thread.run_sync(partial(_seal, folder, manifest))


async def remove_build(folder: Path) -> None:
    """Remove the folder of a build, whatever its script left there."""
    await trio.to_thread.run_sync(partial(_remove, folder))


def _rename(old: Path, new: Path) -> None:
    """In a way that lasts; no matter if there is nothing."""
    with suppress(FileNotFoundError):
        old.rename(new)
        sync_folder(old.parent)


def _seal(folder: Path, manifest: Manifest) -> None:
    try:
        make_ours(folder)
        _refuse_names_elsewhere(folder)
    except TooDeep as error:
        raise ScriptFailed(
            "The build cannot be kept",
            f"its script left folders that are nested too deep: {error.strerror}",
            "Have the script remove what it does not need.",
        ) from None
    # Everything at once: thousands of files, and what the script linked to them.
    sync_file_system(folder)
    if (folder / SEAL).exists():
        raise FileExistsError(f"{folder} is sealed already")
    fresh = folder / f"{SEAL}.new"
    with fresh.open("xb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / SEAL)
    sync_folder(folder)


def make_ours(folder: Path) -> None:
    """Makes the gateway's account the owner of what a program made, readable by all who are shown
    it. Only root can, and only for root do programs run as another user. Blocking. Raises TooDeep,
    OSError."""
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
    """`os.fwalk`, which is a recursion and keeps each folder on its way open, with a bound for how
    deep. Raises TooDeep."""
    for path, folders, files, here in os.fwalk(folder):
        check_depth(os.path.relpath(path, folder))
        yield path, folders, files, here


def _refuse_names_elsewhere(folder: Path) -> None:
    """Refuses a build of which a file has another name outside of it, in a folder that later builds
    write to, such as the cache of pip: they could change what is sealed. Where there are mounts no
    script can make one; with Landlock alone it can. Blocking. Raises ScriptFailed."""
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
                "The build cannot be kept",
                f"its script gave {shown} a second name (a hard link) outside of the build",
                "Have the script copy files instead; for uv, set UV_LINK_MODE=copy.",
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
            # Else it could be back after a loss of power, and what it speaks for not.
            sync_folder(folder)
        remove_tree(folder)
