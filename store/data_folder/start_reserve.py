"""Room on the disk that only a start uses.

SQLite makes two files to open a database, and one of them takes room at once (gotcha G10). After a
clean stop they are gone, so on a full disk the next start could not read its database. This room is
given back when one begins and taken again when it has recovered, as far as there is more than the
replicas need that it starts; when the database is closed, what its files took is free again and
taken as well. So it is there at each start, whatever fills the disk meanwhile.

All of this blocks, for less than a millisecond where the file system can allocate.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path


class StartRoom:
    """The room in `folder`. Its methods may be called in any thread."""

    # Each file is an inode and a block: those that were used are allocated again one by one.
    FILES = 32
    FILE_BYTES = 4096

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def give_back(self) -> None:
        """Frees it. What cannot be removed stays."""
        for path in self._files():
            with suppress(OSError):
                path.unlink()

    def take(self, leave: int = 0) -> None:
        """Takes as much of it as is missing and as there is room for, and leaves so many bytes."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for path in self._files():
                if not path.exists() and _free(self._folder) >= leave + self.FILE_BYTES:
                    _allocate(path, self.FILE_BYTES)

    def lend(self, path: Path) -> None:
        """Makes one of its files that of `path`, for something small that a start writes. Raises
        OSError where there is none left."""
        for each in self._files():
            with suppress(FileNotFoundError):
                each.replace(path)
                return
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _files(self) -> list[Path]:
        return [self._folder / str(number) for number in range(self.FILES)]


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _allocate(path: Path, size: int) -> None:
    """Raises OSError, having taken nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
