"""A replica's working copy of a build: its current directory, home and temporary files.

The sealed build is never written to, and no replica sees what another wrote: each gets the code in
a folder of its own, gone when the replica is. On file systems that share blocks (btrfs, xfs) the
copy costs no space; elsewhere it is a plain copy. All functions block: call them in a thread.
"""

import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path

from workers.folders import remove

# <linux/fs.h>: share the blocks of another file.
_FICLONE = 0x40049409


def make(code: Path, folder: Path) -> Path:
    """Copies `code` to `folder`/code beside an empty `folder`/tmp; returns the copy.

    Raises OSError, leaving nothing behind.
    """
    try:
        (folder / "tmp").mkdir(parents=True)
        shutil.copytree(
            code, folder / "code", symlinks=True, copy_function=_copy, ignore=_special_files
        )
    except RecursionError:
        remove(folder)
        raise OSError(errno.ENAMETOOLONG, "its folders lie too deep") from None
    except OSError:
        remove(folder)
        raise
    return folder / "code"


def _special_files(folder: str, names: list[str]) -> list[str]:
    """Pipes, sockets and devices that a build script left: to open one may be to wait for ever."""
    return [name for name in names if not _is_plain(os.path.join(folder, name))]


def _is_plain(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _copy(source: str, target: str) -> None:
    if not _shares_blocks(source, target):
        shutil.copyfile(source, target)
    shutil.copystat(source, target)


def _shares_blocks(source: str, target: str) -> bool:
    with open(source, "rb") as old, open(target, "wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            return False
    return True
