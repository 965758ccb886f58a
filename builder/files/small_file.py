"""Reads a small file about which nothing is known: neither its type nor its content.

The path may lead to a pipe, which would block a reader, to a device or to a folder, and the file
may have any size. It may be a link that an untrusted program has made, to a file that only we can
read: a link is refused.
"""

import os
import stat
from errno import ELOOP
from pathlib import Path


def read_small_file(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file. Blocks for the disk, never for a writer of a pipe.

    Raises FileNotFoundError where the path does not exist, and OSError where it is a link or no
    regular file of at most `most` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == ELOOP:
            raise OSError("it is a link") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    with open(descriptor, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"it has more than {most} bytes")
    return content
