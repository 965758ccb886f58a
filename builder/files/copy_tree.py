"""Copies files and folders of ours, by reflink on XFS and btrfs.

All of this blocks.
"""

import errno
import os
import shutil
from pathlib import Path

# The kernel or the file system cannot copy by itself.
_NO_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with its modes and symbolic links into `target`, which may exist; its own files
    must not.

    Other entries, such as pipes, are left out. For sealed folders only: it recurses. Raises
    OSError.
    """
    _copy_tree(str(source), str(target))


def _copy_tree(source: str, target: str) -> None:
    # Paths are text: a Path for each of a thousand files would take as long as the copy.
    if not os.path.isdir(target):
        os.mkdir(target)
        os.chmod(target, os.stat(source).st_mode & 0o7777)
    with os.scandir(source) as entries:
        for entry in entries:
            inner = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), inner)
            elif entry.is_dir():
                _copy_tree(entry.path, inner)
            elif entry.is_file():
                _copy_file(entry.path, inner)


def _copy_file(source: str, target: str) -> None:
    read = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy_content(read, write)
            os.fchmod(write, os.fstat(read).st_mode & 0o7777)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _copy_content(read: int, write: int) -> None:
    rest = os.fstat(read).st_size
    try:
        while rest > 0 and (copied := os.copy_file_range(read, write, rest)):
            rest -= copied
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
        with open(read, "rb", closefd=False) as old, open(write, "wb", closefd=False) as new:
            shutil.copyfileobj(old, new)
