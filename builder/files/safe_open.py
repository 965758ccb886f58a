"""Files and folders beneath a root, opened so that no link redirects them.

A process that may change a folder can replace a file or a folder in it by a link at any moment,
also between a check and its use. So nothing beneath a root is opened by its path: each folder is
opened from its parent, by its name and never through a link, and files are opened from that
descriptor. The target of a link can be read; it is never followed.

All of this blocks.
"""

import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EINVAL, ELOOP, ENXIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

from builder.files.remove_tree import remove_below

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: without it, opening a pipe waits for its writer (gotcha G9 in README).
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
Name = str | bytes


class NotAFile(OSError):
    """The entry is not a regular file but a link, a folder, a pipe or a device."""


class Folder:
    """An open folder. Methods take single names and raise OSError; NotADirectoryError where a
    folder is expected and another entry, or a link, is found."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def root(cls, path: Path) -> Self:
        """Open the folder at an absolute path. A path with a link in it is refused."""
        descriptor = os.open("/", os.O_PATH | _FOLDER)
        for name in path.parts[1:]:
            # O_PATH: the parents need not be readable.
            descriptor = _step(descriptor, name, os.O_PATH)
        return cls(_step(descriptor, ".", os.O_RDONLY))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def folder(self, names: Sequence[Name], *, make: bool = False) -> "Folder":
        """Open the folder at these names, one by one; with `make`, create missing ones."""
        descriptor = os.dup(self._descriptor)
        for name in names:
            if make:
                _make(descriptor, _single(name))
            descriptor = _step(descriptor, _single(name), os.O_RDONLY)
        return Folder(descriptor)

    def entries(self, most: int | None = None) -> list["os.DirEntry[str]"]:
        """Return its entries by name, at most `most` + 1. Use them with `follow_symlinks=False`."""
        with os.scandir(self._descriptor) as found:
            some = islice(found, None if most is None else most + 1)
            return sorted(some, key=lambda entry: entry.name)

    def status(self, name: Name) -> os.stat_result:
        """Return the stat of an entry; of a link, its own."""
        return os.stat(_single(name), dir_fd=self._descriptor, follow_symlinks=False)

    def target(self, name: Name) -> str:
        """Return the target of a link."""
        return os.readlink(os.fsdecode(_single(name)), dir_fd=self._descriptor)

    def open(self, name: Name) -> BinaryIO:
        """Open a regular file for reading. Raises NotAFile."""
        try:
            descriptor = os.open(_single(name), _FILE, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (ELOOP, ENXIO):  # a link, a socket
                raise NotAFile(*error.args) from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotAFile(EINVAL, "not a regular file", os.fsdecode(name))
        return os.fdopen(descriptor, "rb")

    @contextmanager
    def writing(self, name: Name, mode: int = 0o644) -> Iterator[BinaryIO]:
        """Write a file that gets its name, atomically and durably, when the block succeeds. A
        link of that name is replaced."""
        fresh = f".uploading-{uuid.uuid4().hex}"
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(fresh, how, 0o600, dir_fd=self._descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            here = self._descriptor
            os.replace(fresh, _single(name), src_dir_fd=here, dst_dir_fd=here)
            os.fsync(self._descriptor)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=self._descriptor)
            raise

    def link(self, name: Name, target: Path) -> None:
        """Give an entry that is not a folder another name at `target`; a link is not followed."""
        name = _single(name)
        os.link(name, target, src_dir_fd=self._descriptor, follow_symlinks=False)

    def move(self, name: Name, folder: "Folder", new: Name) -> None:
        """Give an entry a name in another folder, durably. A file of that name is replaced."""
        here, there = self._descriptor, folder._descriptor
        os.rename(_single(name), _single(new), src_dir_fd=here, dst_dir_fd=there)
        os.fsync(here)
        os.fsync(there)

    def remove(self, name: Name) -> None:
        """Remove an entry; a folder with its content."""
        if stat.S_ISDIR(self.status(name).st_mode):
            remove_below(self._descriptor, _single(name))
        else:
            os.unlink(_single(name), dir_fd=self._descriptor)
        os.fsync(self._descriptor)


def _step(above: int, name: Name, how: int) -> int:
    """Open the folder of that name and close its parent `above`."""
    try:
        return os.open(name, how | _FOLDER, dir_fd=above)
    finally:
        os.close(above)


def _make(above: int, name: Name) -> None:
    """Create a folder durably, unless the name exists."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
        os.fsync(above)


def _single(name: Name) -> str:
    text = os.fsdecode(name)
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise ValueError(f"{text!r} is not the name of an entry")
    return text
