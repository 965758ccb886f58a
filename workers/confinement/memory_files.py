"""Small files in memory: given to a process as a descriptor, so that a full disk cannot keep it
from starting, and no other process finds them by a name."""

import os


def open_in_memory(name: str, content: bytes) -> int:
    """A descriptor of a file with this content, read from its beginning. Raises OSError."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
