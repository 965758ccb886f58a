"""Allocates all blocks of the `-shm` file of an open database.

SQLite writes one byte to each 4 KiB of the file and maps it into memory. On a file system with
smaller blocks the other blocks are allocated at the first access. If the disk is full by then, the
process ends by SIGBUS (gotcha G10 of the store).
"""

import os
from contextlib import suppress
from pathlib import Path


def allocate_shared_memory(database: Path) -> None:
    """Allocate the blocks that the file does not have yet. Raises OSError on a full disk.

    It uses SQLite's own descriptor: closing another one would release SQLite's locks on the file.
    """
    wanted = os.stat(database.with_name(f"{database.name}-shm"))
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.path.samestat(os.stat(f"/proc/self/fd/{name}"), wanted):
                os.posix_fallocate(int(name), 0, wanted.st_size)
                return
