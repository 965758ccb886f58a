"""Small files in memory, which a process gets as a descriptor. So a full disk cannot prevent its
start, and no other process finds them by a name."""

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
