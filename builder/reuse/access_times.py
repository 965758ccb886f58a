"""What a script has read of a folder, by the access times of its files.

Each file gets an access time long ago. A kernel renews it at the first read by any program: by
`read`, `mmap`, `exec` or `sendfile`. So a file with another access time was read. A file that was
changed or removed counts as read, too.

Some reads are not seen, and what is read so has to count without a trace:

- Names, kinds and permissions, and whether a file is empty (`environment_key.py`).
- Targets of links (`environment_key.py`).
- All files, where the file system keeps no exact access times (`noatime`, some network file
  systems), or where a copy shares blocks with its source and is no read (`cp --reflink`, on XFS
  and btrfs). `is_exact` tries it in the folder itself.
- Files that a script has opened with O_NOATIME, or to which it has given the old access time
  again. The second changes the status time, which is compared as well; the first is left out.
"""

import fcntl
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from builder.files.depth import check_depth

# In nanoseconds: 2001. Older than a day, and older than any change of a file that was just written.
LONG_AGO = 1_000_000_000 * 10**9
_FICLONE = 0x40049409


class FileState(NamedTuple):
    """What tells whether a file was changed. No program can set the time of its last change of
    status."""

    inode: int
    mode: int
    size: int
    modified: int
    status_changed: int


class Entry(NamedTuple):
    """A file, folder or link in a folder, by its path from there."""

    path: bytes
    found: os.stat_result


def entries(folder: Path) -> Iterator[Entry]:
    """Yield all below a folder, each folder before its content. Raises TooDeep, OSError."""
    root = os.fsencode(folder)
    ahead = [b""]
    while ahead:
        here = ahead.pop()
        with os.scandir(os.path.join(root, here)) as found:
            for each in sorted(found, key=lambda entry: entry.name):
                entry = Entry(os.path.join(here, each.name), each.stat(follow_symlinks=False))
                yield entry
                if stat.S_ISDIR(entry.found.st_mode):
                    check_depth(os.fsdecode(entry.path))
                    ahead.append(entry.path)


def mark(folder: Path) -> dict[bytes, FileState]:
    """Set the access time of each file, and return the states of all. Blocking. Raises OSError."""
    states = {}
    for path, found in entries(folder):
        if stat.S_ISREG(found.st_mode):
            full = os.path.join(os.fsencode(folder), path)
            os.utime(full, ns=(LONG_AGO, found.st_mtime_ns), follow_symlinks=False)
            states[path] = state_of(os.lstat(full))
    return states


def state_of(found: os.stat_result) -> FileState:
    return FileState(
        inode=found.st_ino,
        mode=found.st_mode,
        size=found.st_size,
        modified=found.st_mtime_ns,
        status_changed=found.st_ctime_ns,
    )


def is_read(found: os.stat_result) -> bool:
    """Whether a file has been read since `mark`."""
    return found.st_atime_ns != LONG_AGO


def is_exact(folder: Path) -> bool:
    """Whether reads of files in this folder are seen. Tries it on a file there. Blocking."""
    try:
        with (
            tempfile.NamedTemporaryFile(dir=folder) as file,
            tempfile.TemporaryFile(dir=folder) as copy,
        ):
            file.write(b"x" * 4096)
            file.flush()
            return all(_is_seen(file.name, copy.fileno(), how) for how in _WAYS)
    except OSError:
        return False


def _is_seen(path: str, copy: int, read: Callable[[int, int], bool]) -> bool:
    """Whether a file has a new access time after it was read so, where it can be read so."""
    os.utime(path, ns=(LONG_AGO, os.stat(path).st_mtime_ns))
    if is_read(os.stat(path)):
        return False  # the file system keeps no such time
    with open(path, "rb", buffering=0) as file:
        done = read(file.fileno(), copy)
    return is_read(os.stat(path)) or not done


def _read(file: int, _copy: int) -> bool:
    os.read(file, 1)
    return True


def _map(file: int, _copy: int) -> bool:
    with mmap.mmap(file, 0, prot=mmap.PROT_READ) as mapped:
        return mapped[0] == ord("x")


def _send(file: int, copy: int) -> bool:
    return os.sendfile(copy, file, 0, 4096) > 0


def _copy_range(file: int, copy: int) -> bool:
    with suppress(OSError):  # some file systems cannot
        return os.copy_file_range(file, copy, 4096, 0, 0) > 0
    return False


def _clone(file: int, copy: int) -> bool:
    with suppress(OSError):  # most file systems cannot
        fcntl.ioctl(copy, _FICLONE, file)
        return True
    return False


_WAYS = (_read, _map, _send, _copy_range, _clone)
