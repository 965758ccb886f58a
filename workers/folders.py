"""Folders that others fill: measured, given and removed, whatever is made of them meanwhile.

A model may swap a folder for a link while one walks, shut it, or nest folders by the thousand. So
each is opened from the one above it, by name and never through a link; one that is shut is opened
up by its inode; and no more than _DEEPEST are open at once, to remove them _OPEN. All functions
block.
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

# Nobody's project is as deep; more would cost the gateway descriptors.
_DEEPEST = 200
# Removing works by moving up what lies deeper, so it can do with few.
_OPEN = 32
# What an entry takes at least: its own inode, and its part of the folder.
_ENTRY = 4096
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(name: str, above: int | None = None) -> int:
    """A descriptor of the folder of that name in the one `above`. Raises OSError, for links too."""
    try:
        return os.open(name, os.O_RDONLY | _FOLDER, dir_fd=above)
    except PermissionError:  # its maker runs as we do, and shut it, perhaps to hide what is in it
        inode = os.open(name, os.O_PATH | _FOLDER, dir_fd=above)
        try:
            os.chmod(f"/proc/self/fd/{inode}", stat.S_IRWXU)
            return os.open(".", os.O_RDONLY | _FOLDER, dir_fd=inode)
        finally:
            os.close(inode)


def make_below(top: Path, path: PurePath) -> int:
    """A descriptor of the folder `path` in `top`; what is missing of it is made, for all to enter.
    Raises OSError, where a link or a file stands in the way too."""
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


def entries(folder: Path) -> Iterator[tuple[int, str, os.stat_result]]:
    """All that is in a folder and in those in it, each as (descriptor of the folder that it is in,
    name, what it is); a folder comes before what is in it, and is opened after it was given out.
    Raises OSError, also where folders lie too deep."""
    opened: list[tuple[int, list[str]]] = []
    name, above = str(folder), None
    try:
        while True:
            if len(opened) == _DEEPEST:
                raise OSError(errno.ENAMETOOLONG, "its folders lie too deep", str(folder))
            descriptor, inner = open_folder(name, above), list[str]()
            opened.append((descriptor, inner))
            for each in os.listdir(descriptor):
                found = os.stat(each, dir_fd=descriptor, follow_symlinks=False)
                yield descriptor, each, found
                if stat.S_ISDIR(found.st_mode):
                    inner.append(each)
            while opened and not opened[-1][1]:
                os.close(opened.pop()[0])
            if not opened:
                return
            above = opened[-1][0]
            name = opened[-1][1].pop()
    finally:
        for descriptor, _ in opened:
            os.close(descriptor)


def give(folder: Path, owner: int) -> None:
    """Makes a folder and all that is in it `owner`'s; for root. The folder itself comes last: once
    it is `owner`'s, so is all. Files with further names, which may lie elsewhere, are left as they
    are. Raises OSError."""
    for above, name, found in entries(folder):
        if found.st_uid != owner and (found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)):
            os.chown(name, owner, owner, dir_fd=above, follow_symlinks=False)
    os.chown(folder, owner, owner, follow_symlinks=False)


def make_plain(folder: Path) -> None:
    """Makes a folder and all that is in it ours, for us alone, and removes all that is neither a
    file nor a folder. Raises OSError."""
    _take(str(folder), None, stat.S_IRWXU)
    for above, name, found in entries(folder):
        if stat.S_ISDIR(found.st_mode):
            _take(name, above, stat.S_IRWXU)
        elif stat.S_ISREG(found.st_mode):
            _take(name, above, stat.S_IRUSR | stat.S_IWUSR)
        else:
            os.unlink(name, dir_fd=above)


def _take(name: str, above: int | None, mode: int) -> None:
    inode = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        itself = f"/proc/self/fd/{inode}"
        if os.geteuid() == 0:
            os.chown(itself, 0, 0)
        os.chmod(itself, mode)
    finally:
        os.close(inode)


def measure(folder: Path, *, enough: float = inf) -> int:
    """The bytes that a folder takes on its disk, or any number beyond `enough`.

    Links are not followed; what goes while one looks counts nothing. What lies too deep to be
    looked at counts as too much. Raises OSError in a shortage.
    """
    total = 0
    # From the top down: each folder, and which of those in it are to be looked at yet.
    opened: list[tuple[int, list[str]]] = []
    name, above = str(folder), None
    try:
        while True:
            with suppressed():
                opened.append((open_folder(name, above), []))
                total += _look(*opened[-1], enough - total)
            while opened and not opened[-1][1]:
                os.close(opened.pop()[0])
            if not opened or total > enough:
                return total
            if len(opened) > _DEEPEST:
                return total if enough == inf else int(enough) + 1
            above = opened[-1][0]
            name = opened[-1][1].pop()
    finally:
        for descriptor, _ in opened:
            os.close(descriptor)


def _look(folder: int, inner: list[str], enough: float) -> int:
    """What the entries of an open folder take; the folders among them are added to `inner`."""
    try:
        return _count(folder, inner, enough)
    except PermissionError:  # it may be listed, but nothing in it be looked at
        inner.clear()
        os.fchmod(folder, stat.S_IRWXU)
        return _count(folder, inner, enough)


def _count(folder: int, inner: list[str], enough: float) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                total += max(_ENTRY, 512 * found.st_blocks)
                if stat.S_ISDIR(found.st_mode):
                    inner.append(entry.name)
            if total > enough:
                break
    return total


def remove(folder: Path) -> None:
    """Removes a folder with all that is in it, whatever its permissions and depth.

    What even so cannot be removed stays. Raises OSError in a shortage.
    """
    with suppressed():
        top = open_folder(str(folder))
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(folder)


def _empty(top: int) -> None:
    # From the top down: each folder, its name in the one above, and those in it that are left.
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
    """Opens and clears the next folder, or, where that would be too deep, moves it to the top."""
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
    """Removes all of an open folder but the folders in it, whose names are returned."""
    with suppress(PermissionError):  # another user's, which root may clear all the same
        os.fchmod(folder, stat.S_IRWXU)
    folders = []
    for entry in list(os.scandir(folder)):
        with suppressed():
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders
