"""What makes files outlive a loss of power.

The bytes of a file and the name of it are two things: the first last by a sync of the file, the
second by one of its folder. Whoever is told that something is done must not be told before both.

All of this blocks.
"""

import ctypes
import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, and that others are gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Make everything last that was written on the file system of `folder`, whoever wrote it.

    Linux tells of what could not be written since 5.8 only.
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
    """Make a folder and those above it, as far as they are missing, in a way that lasts."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
