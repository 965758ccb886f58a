"""Files and folders that survive a power cut, for the files that SQLite does not write.

The content of a file lasts after an fsync of the file, its name after an fsync of its folder. The
builder has the same helpers for whole trees: the packages do not import each other. All of this
blocks.
"""

import os
from pathlib import Path


def fsync(path: Path) -> None:
    """Write the content of a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Make a folder with this mode, regardless of the umask, and its missing parents."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if folder.is_dir():  # another process was faster
            return
        raise
    folder.chmod(mode)
    fsync(folder.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Replace the content of a private file, atomically and durably."""
    fresh = path.with_name(f"{path.name}.new")
    # Left incomplete by a kill.
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fsync(path.parent)
