"""Disk space that only a start uses.

SQLite makes two files to open a database, and one of them occupies space at once (gotcha G10). A
clean stop removes both, so on a full disk the next start could not read its database. The reserve
is released when a start begins. It is allocated again when the start has recovered, as far as there
is more space than the replicas need that it starts. When the database is closed, the space of its
files is free again and is allocated as well. So each start finds the reserve, however full the disk
is.

All of this blocks, for less than a millisecond where the file system can allocate.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path


class StartReserve:
    """The reserve in `folder`. Its methods may be called in any thread."""

    # Each file is an inode and a block: those that were used are allocated again one by one.
    FILES = 32
    FILE_BYTES = 4096

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def release(self) -> None:
        """Free the reserve, as far as its files can be removed."""
        for path in self._files():
            with suppress(OSError):
                path.unlink()

    def allocate(self, *, leave_bytes: int = 0, leave_inodes: int = 0) -> None:
        """Allocate the missing files as far as there is space, and leave so much of it free."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for path in self._files():
                if not path.exists() and _has(
                    self._folder, leave_bytes + self.FILE_BYTES, leave_inodes + 1
                ):
                    _allocate(path, self.FILE_BYTES)

    def lend(self, path: Path) -> None:
        """Move one of its files to `path`, for a small file that a start writes.

        Raises OSError where none is left.
        """
        for each in self._files():
            with suppress(FileNotFoundError):
                each.replace(path)
                return
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _files(self) -> list[Path]:
        return [self._folder / str(number) for number in range(self.FILES)]


def _has(folder: Path, size: int, inodes: int) -> bool:
    """Whether so much is free. A file system that creates inodes on demand counts none."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= size and (
        found.f_files == 0 or found.f_favail >= inodes
    )


def _allocate(path: Path, size: int) -> None:
    """Raises OSError, and then allocates nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
