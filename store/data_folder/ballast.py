"""Room that is kept for the day on which the disk is full.

Then even a deletion needs some, since it is written to the log first (gotcha G6 in README), and so
does a start. The ballast is a folder of files with nothing in them that really take their space;
given back, they free bytes and inodes at once. It is taken again when there is plenty.

All of this blocks, for less than a millisecond where the file system can allocate.
"""

import os
import shutil
from pathlib import Path


class Ballast:
    """The ballast in `folder`. Its methods may be called in any thread."""

    FILES = 16  # each is an inode to give back
    FILE_BYTES = 1024 * 1024
    BYTES = FILES * FILE_BYTES

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def held(self) -> bool:
        """Whether there is any."""
        return self._folder.exists()

    def give_back(self) -> bool:
        """Frees its space; False when there was none to free."""
        held = self.held
        shutil.rmtree(self._folder, ignore_errors=True)
        return held and not self.held

    def take(self) -> None:
        """Takes what of it is missing. Raises OSError, having taken nothing."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for number in range(self.FILES):
                _allocate(self._folder / str(number), self.FILE_BYTES)
        except OSError:
            self.give_back()
            raise


def _allocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
