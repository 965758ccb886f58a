"""Folders that untrusted code fills: measure, chown and remove them safely while it changes them.

A model may swap a folder for a link during a walk, remove its permissions, or nest folders by the
thousand. So a walk opens each folder from the one above it, by name and never through a link. It
gives a folder without permissions new ones by its inode. At most _DEEPEST folders are open at once
(_OPEN to remove them). On the way back the walk opens the folders above again, from below, and
checks that they are the same. All functions block.
"""

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path, PurePath

from workers.shortages import suppressed

# No project is this deep; more would cost the gateway descriptors.
_DEEPEST = 200
# A removal moves deeper folders up, so it needs few.
_OPEN = 32
# The least bytes of an entry: its own inode, and its part of the folder.
_ENTRY = 4096
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(name: str, above: int | None = None) -> int:
    """A descriptor of the folder `name` in `above`. Raises OSError, for links too."""
    try:
        return os.open(name, os.O_RDONLY | _FOLDER, dir_fd=above)
    except PermissionError:  # a process of the same user removed its permissions
        inode = os.open(name, os.O_PATH | _FOLDER, dir_fd=above)
        try:
            os.chmod(f"/proc/self/fd/{inode}", stat.S_IRWXU)
            return os.open(".", os.O_RDONLY | _FOLDER, dir_fd=inode)
        finally:
            os.close(inode)


def make_below(top: Path, path: PurePath) -> int:
    """A descriptor of the folder `path` in `top`. Makes missing folders, which all may enter.
    Raises OSError, also for a link or a file on the way."""
    folder = open_folder(str(top))
    for name in path.parts:
        above = folder
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=above)
            folder = open_folder(name, above)
        finally:
            os.close(above)
    return folder


class _Walk:
    """The path from a folder down to one in it. The last few folders of the path are open."""

    def __init__(self) -> None:
        self._open: list[int] = []
        # For each folder: its identity, and the subfolders still to enter.
        self._known: list[tuple[tuple[int, int], list[str]]] = []

    def __enter__(self) -> "_Walk":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def last(self) -> tuple[int, list[str]]:
        """The descriptor of the last folder, and its subfolders still to enter."""
        return self._open[-1], self._known[-1][1]

    def enter(self, name: str) -> None:
        """Enters a folder in the last one, or the first folder. Raises OSError."""
        descriptor = open_folder(name, self._open[-1] if self._open else None)
        self._open.append(descriptor)
        self._known.append((_which(descriptor), []))
        if len(self._open) > _DEEPEST:
            os.close(self._open.pop(0))

    def back(self) -> bool:
        """Leaves folders until there is one to enter; returns whether there is one. Raises OSError
        where a folder was moved."""
        while self._known and not self._known[-1][1]:
            self._known.pop()
            left = self._open.pop()
            try:
                if self._known and not self._open:
                    self._open.append(os.open("..", os.O_RDONLY | _FOLDER, dir_fd=left))
            finally:
                os.close(left)
            if self._known and _which(self._open[-1]) != self._known[-1][0]:
                raise OSError(errno.ESTALE, "a folder was moved while it was looked through")
        return bool(self._known)


def _which(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def entries(folder: Path, *, deepest: float = inf) -> Iterator[tuple[int, str, os.stat_result]]:
    """All entries of a folder and its subfolders, each as (descriptor of its folder, name, stat). A
    folder is yielded before its entries, then opened. Raises OSError, also for entries of a folder
    deeper than `deepest`."""
    with _Walk() as way:
        name = str(folder)
        while True:
            if len(way) >= deepest:
                raise OSError(errno.ENAMETOOLONG, "its folders lie too deep", str(folder))
            way.enter(name)
            descriptor, inner = way.last
            with os.scandir(descriptor) as listed:
                for each in listed:
                    found = os.stat(each.name, dir_fd=descriptor, follow_symlinks=False)
                    yield descriptor, each.name, found
                    if stat.S_ISDIR(found.st_mode):
                        inner.append(each.name)
            if not way.back():
                return
            name = way.last[1].pop()


def chown_tree(folder: Path, owner: int) -> None:
    """Makes `owner` the owner of a folder and all its content; for root. The folder itself is last,
    so its owner shows that all is done. Files with further hard links, which may be elsewhere, stay
    as they are. Raises OSError."""
    for above, name, found in entries(folder):
        if found.st_uid != owner and (found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)):
            os.chown(name, owner, owner, dir_fd=above, follow_symlinks=False)
    os.chown(folder, owner, owner, follow_symlinks=False)


def make_plain(folder: Path) -> None:
    """Makes this process's user the owner of a folder and all its content, without permissions for
    others, and removes what is neither a file nor a folder. Raises OSError, also where its folders
    are too deep for paths."""
    take(str(folder), None, stat.S_IRWXU)
    for above, name, found in entries(folder, deepest=_DEEPEST):
        if stat.S_ISDIR(found.st_mode):
            take(name, above, stat.S_IRWXU)
        elif stat.S_ISREG(found.st_mode):
            take(name, above, stat.S_IRUSR | stat.S_IWUSR)
        else:
            os.unlink(name, dir_fd=above)


def take(name: str, above: int | None, mode: int) -> None:
    """Makes this process's user the owner of an entry that is no link, with these permissions."""
    inode = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        itself = f"/proc/self/fd/{inode}"
        if os.geteuid() == 0:
            os.chown(itself, 0, 0)
        os.chmod(itself, mode)
    finally:
        os.close(inode)


def measure(
    folder: Path, *, enough: float = inf, counted: set[tuple[int, int]] | None = None
) -> int:
    """The bytes that a folder takes on its disk, or any number beyond `enough`.

    Files with further hard links that are in `counted` do not count; the others are added to it. It
    does not follow links. Entries that vanish during the walk do not count. If deep folders move
    during the walk, so that it cannot return, they count as too much. Raises OSError in a shortage.
    """
    total, name = 0, str(folder)
    with _Walk() as way:
        while True:
            with suppressed():
                way.enter(name)
                total += _look(*way.last, enough - total, counted)
            if total > enough:
                return total
            with suppressed():
                if not way.back():
                    return total
                name = way.last[1].pop()
                continue
            return total if enough == inf else int(enough) + 1


def _look(
    folder: int, inner: list[str], enough: float, counted: set[tuple[int, int]] | None
) -> int:
    """The bytes of an open folder's entries; adds the folders among them to `inner`."""
    try:
        return _count(folder, inner, enough, counted)
    except PermissionError:  # it may be listed, but its entries may not be read
        inner.clear()
        os.fchmod(folder, stat.S_IRWXU)
        return _count(folder, inner, enough, counted)


def _count(
    folder: int, inner: list[str], enough: float, counted: set[tuple[int, int]] | None
) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if counted is not None and found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                    if (found.st_dev, found.st_ino) in counted:
                        continue
                    counted.add((found.st_dev, found.st_ino))
                total += max(_ENTRY, 512 * found.st_blocks)
                if stat.S_ISDIR(found.st_mode):
                    inner.append(entry.name)
            if total > enough:
                break
    return total


def remove(folder: Path) -> None:
    """Removes a folder with all its content, at any permissions and depth.

    Entries that cannot be removed stay. Raises OSError in a shortage.
    """
    with suppressed():
        top = open_folder(str(folder))
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(folder)


def _empty(top: int) -> None:
    # From the top down: each folder, its name in the one above, and its remaining subfolders.
    opened = [(top, "", _clear(top))]
    try:
        while True:
            folder, name, inner = opened[-1]
            if inner:
                with suppressed():
                    _descend(opened, inner.pop())
            elif folder == top:
                return
            else:
                os.close(opened.pop()[0])
                with suppressed():
                    os.rmdir(name, dir_fd=opened[-1][0])
    finally:
        for folder, *_ in opened[1:]:
            os.close(folder)


def _descend(opened: list[tuple[int, str, list[str]]], name: str) -> None:
    """Opens and clears the next folder, or moves it to the top where it would be too deep."""
    above, top = opened[-1][0], opened[0]
    folder = open_folder(name, above)
    try:
        if len(opened) < _OPEN:
            opened.append((folder, name, _clear(folder)))
            return
        os.fchmod(folder, stat.S_IRWXU)
        os.rename(name, higher := uuid.uuid4().hex, src_dir_fd=above, dst_dir_fd=top[0])
        top[2].append(higher)
    except OSError:
        os.close(folder)
        raise
    os.close(folder)


def _clear(folder: int) -> list[str]:
    """Removes all entries of an open folder but its subfolders, and returns their names."""
    with suppress(PermissionError):  # another user's, which root may still clear
        os.fchmod(folder, stat.S_IRWXU)
    folders = []
    for entry in list(os.scandir(folder)):
        with suppressed():
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders
