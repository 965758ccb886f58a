"""What makes files outlive a loss of power, for the files that SQLite does not write.

The bytes of a file last by a sync of it, its name by a sync of its folder. All of this blocks.
"""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Make a file's bytes last, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Make a folder with this mode, whatever the umask, and those above it as far as they are
    missing."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if folder.is_dir():  # made by another process meanwhile
            return
        raise
    folder.chmod(mode)
    sync(folder.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Give a file of our account alone these bytes, whole or not at all, in a way that lasts."""
    fresh = path.with_name(f"{path.name}.new")
    # What a kill left half-written.
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
    sync(path.parent)
