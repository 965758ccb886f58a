"""Disk space that is reserved for the time when the disk is full.

On a full disk even a deletion needs space, since it is first written to the log (gotcha G6), and so
does a start. The ballast is a folder of empty files that really occupy their space. Releasing it
frees bytes and inodes at once. It is allocated again when there is plenty of space.

All of this blocks, for less than a millisecond where the file system can allocate.
"""

import os
import shutil
from pathlib import Path


class Ballast:
    """The ballast in `folder`. Its methods may be called in any thread."""

    FILES = 16  # each also reserves an inode
    FILE_BYTES = 1024 * 1024
    BYTES = FILES * FILE_BYTES

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def allocated(self) -> bool:
        """Whether any of it is on the disk."""
        return self._folder.exists()

    def release(self) -> bool:
        """Free its space; return False where there was none."""
        was_allocated = self.allocated
        shutil.rmtree(self._folder, ignore_errors=True)
        return was_allocated and not self.allocated

    def allocate(self) -> None:
        """Allocate the missing files. Raises OSError, and then allocates nothing."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for number in range(self.FILES):
                _allocate(self._folder / str(number), self.FILE_BYTES)
        except OSError:
            self.release()
            raise


def _allocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
