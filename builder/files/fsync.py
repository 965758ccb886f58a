"""Files and folders that survive a power cut, and folders that are exchanged.

The content of a file lasts after a sync of the file, its name after a sync of its folder. Success
must not be reported before both. The store has such helpers for single files: the packages do not
import each other.

All of this blocks.
"""

import ctypes
import os
from pathlib import Path

# AT_FDCWD and RENAME_EXCHANGE of renameat2(2).
_HERE, _EXCHANGE = -100, 2


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, and the removal of others."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Write all changed files on the file system of `folder` to the disk, of all processes.

    Linux reports write errors here since 5.8.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, durably."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders of one file system: each gets the name of the other, at one instant."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
