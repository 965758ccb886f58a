"""The folder that a restore fills: empty before; afterwards complete, or refused by a start.

The marker is written first, and the database last, by one rename. So a killed restore leaves a
marker without a database: a start refuses such a folder, and the next restore first clears it. The
folder is filled in place: it may be a mount point, or be in a folder of another user, where no
other folder could be renamed to its name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import store
from builder import remove_tree, sync_folder
from gateway.data_folder import DataFolder

_LOCK = "lock"
# The files of a restore that was killed before it had its marker.
_BEFORE = {_LOCK, "restoring.new"}


class RestoreRefused(Exception):
    """Nothing was changed; `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def is_unfinished(data: DataFolder) -> bool:
    """Whether a restore into the folder began and did not finish."""
    return data.restoring.exists() and not data.database.exists()


def check_empty(data: DataFolder) -> None:
    """Raises RestoreRefused if the folder has anything but an unfinished restore."""
    root = data.root
    if is_unfinished(data) or not root.exists():
        return
    if not root.is_dir() or {*os.listdir(root)} - _BEFORE:
        raise RestoreRefused(
            f"{root} is not empty", "Name a folder that is empty or not there with --data."
        )


@contextmanager
def filling(data: DataFolder) -> Iterator[bool]:
    """Locks the folder while the block fills it; a block that fails leaves nothing there. Yields
    whether an unfinished restore was removed first. Entering and leaving the block are blocking.

    Raises RestoreRefused, StoreError, OSError.
    """
    was_there = data.root.is_dir()
    with store.lock_data_folder(data.root):
        check_empty(data)
        unfinished = is_unfinished(data)
        _empty(data)
        try:
            store.replace_file(data.restoring, b"")
            yield unfinished
        except BaseException:
            # If a file cannot be removed, the marker stays too.
            with suppress(OSError):
                _empty(data)
                data.restoring.unlink(missing_ok=True)
                if not was_there:
                    (data.root / _LOCK).unlink()
                    data.root.rmdir()
            raise
        with suppress(OSError):  # beside a database it says nothing
            data.restoring.unlink()
            sync_folder(data.root)


def _empty(data: DataFolder) -> None:
    for entry in data.root.iterdir():
        if entry.name not in (_LOCK, data.restoring.name):
            remove_tree(entry)
