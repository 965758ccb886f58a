"""Reads a small file of which nothing is known: neither what it is nor what is in it.

The path may lead to a pipe, which would keep a reader waiting, to a device or to a folder, and the
file may have any size.
"""

import os
import stat
from pathlib import Path


def read_plain(path: Path, most: int) -> bytes:
    """The bytes of a regular file. Blocking, but never for a writer. Raises FileNotFoundError where
    there is nothing at the path, and OSError for all that is no regular file of at most `most`
    bytes, also for a link that leads nowhere."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError("it is a link that leads nowhere") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    with open(descriptor, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"it has more than {most} bytes")
    return content
