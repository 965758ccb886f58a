"""A replica's working copy of a build: its current directory, home and temporary files.

The sealed build is never written to, and no replica sees what another wrote: each gets the code in
a folder of its own, gone when the replica is. On file systems that share blocks (btrfs, xfs) the
copy costs no space; elsewhere it is a plain copy. All functions block: call them in a thread.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from workers.untrusted_tree import remove

# <linux/fs.h>: share the blocks of another file.
_FICLONE = 0x40049409


def make(code: Path, folder: Path, home: Path) -> Path:
    """Copies `code` to `folder`/code beside an empty `folder`/tmp; returns the copy. Absolute links
    into `home`, where the build's script saw its files, are relative in the copy.

    Raises OSError, leaving nothing behind.
    """
    try:
        (folder / "tmp").mkdir(parents=True)
        _copy_folder(str(code), str(folder / "code"), str(home))
    except OSError as error:
        remove(folder)
        if error.errno == errno.ENAMETOOLONG:
            raise OSError(error.errno, "its folders lie too deep") from None
        raise
    return folder / "code"


def _copy_folder(source: str, target: str, home: str) -> None:
    copied: list[str] = []
    ahead = [""]
    while ahead:
        here = ahead.pop()
        os.mkdir(os.path.join(target, here))
        copied.append(here)
        ahead += _copy_entries(source, target, here, home)
    # The inner ones first, when nothing is written into them any more: one may be read-only.
    for here in reversed(copied):
        shutil.copystat(os.path.join(source, here), os.path.join(target, here))


def _copy_entries(source: str, target: str, here: str, home: str) -> Iterator[str]:
    """Copies what is in a folder but for the folders in it, whose paths are returned; and for
    pipes, sockets and devices that a script left: to open one may be to wait for ever."""
    with os.scandir(os.path.join(source, here)) as entries:
        for entry in entries:
            path = os.path.join(here, entry.name)
            fresh = os.path.join(target, path)
            if entry.is_symlink():
                os.symlink(_inward(os.readlink(entry.path), home, path.count("/")), fresh)
                shutil.copystat(entry.path, fresh, follow_symlinks=False)
            elif entry.is_dir(follow_symlinks=False):
                yield path
            elif entry.is_file(follow_symlinks=False):
                _copy(entry.path, fresh)


def _inward(link: str, home: str, depth: int) -> str:
    """What a link says that lies so deep in the copy: relative, if it led into `home`."""
    if link != home and not link.startswith(f"{home}/"):
        return link
    return "../" * depth + (link[len(home) :].strip("/") or ".")


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
