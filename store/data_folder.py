"""One gateway to a data folder: a lock held for the life of the process.

The lock is `flock` on a file that is never removed. The kernel lets go of it when its holder dies,
however it dies, so there is no stale lock to clean up; the pid in the file is there only to be
named to whoever is refused (gotcha G5).
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from store.errors import DataFolderBusy, DataFolderUnusable
from store.lasting import make_folder


@contextmanager
def lock_data_folder(path: Path) -> Iterator[None]:
    """Make the folder if need be and hold it; one process can.

    Raises DataFolderBusy when another process holds it, DataFolderUnusable when it cannot be made
    or written.
    """
    with ExitStack() as held:
        with _saying_what_is_wrong(path):
            file = held.enter_context(_open_lock(path))
            _take(file, path)
            _sign(file)
        yield


@contextmanager
def _saying_what_is_wrong(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataFolderUnusable(path, error.strerror or str(error)) from error


def _open_lock(path: Path) -> IO[str]:
    make_folder(path, mode=0o700)
    # A lock file made earlier can be open to us in a folder that is not.
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    return os.fdopen(descriptor, "r+")


def _take(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = file.read().strip()
        raise DataFolderBusy(path, int(text) if text.isdecimal() else None) from None


def _sign(file: IO[str]) -> None:
    # Past the file's buffer, which would try again at its closing and fail with another error.
    os.ftruncate(file.fileno(), 0)
    os.pwrite(file.fileno(), f"{os.getpid()}\n".encode(), 0)
