"""The `-shm` file of an open database, which really takes its room.

SQLite writes one byte to each 4 KiB of it and maps it into memory. On a file system with smaller
blocks the rest of it is made at the first touch, and where the disk is full by then, that is SIGBUS
and the end of the process (gotcha G10 in README).
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
