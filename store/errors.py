"""Everything that the store refuses or fails at: one class of error each, with its facts.

Callers decide by type and attributes; the text is for people. `StoreFailed` is the only error that
is not about the request: the machine is at fault.
"""

from collections.abc import Sequence
from pathlib import Path


class StoreError(Exception):
    """Base of all errors that the store raises on purpose."""


class NotFound(StoreError):
    """No record of this noun has this key. Nothing was changed."""

    def __init__(self, noun: str, key: str | int) -> None:
        self.noun = noun
        self.key = key
        super().__init__(f"there is no {noun} {key!r}")


class NameTaken(StoreError):
    """Another record of this noun already has the name (or the folder). Nothing was changed."""

    def __init__(self, noun: str, name: str) -> None:
        self.noun = noun
        self.name = name
        super().__init__(f"there is already a {noun} {name!r}")


class IllegalTransition(StoreError):
    """The event cannot happen to a record in this state. Nothing was changed."""

    def __init__(self, noun: str, state: str, event: str) -> None:
        self.noun = noun
        self.state = state
        self.event = event
        super().__init__(f"{event!r} cannot happen to this {noun}: its state is {state!r}")


class BuildInUse(StoreError):
    """A build cannot be deleted while deployments run on it. Nothing was changed."""

    def __init__(self, number: int, deployments: Sequence[int]) -> None:
        self.number = number
        self.deployments = tuple(deployments)
        users = ", ".join(str(deployment) for deployment in deployments)
        super().__init__(f"build {number} is in use by deployment {users}")


class RuntimeInUse(StoreError):
    """A runtime cannot be deleted while records of `noun` name it. Nothing was changed."""

    def __init__(self, identifier: str, noun: str, count: int) -> None:
        self.identifier = identifier
        super().__init__(f"runtime {identifier!r} is used by {noun} ({count})")


class SchemaTooNew(StoreError):
    """A newer predictd wrote this database; it was read and not changed."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(
            f"{path} has schema {found}, and this predictd supports schemas up to {known}. "
            "Start the newer predictd, or restore the backup from before the upgrade"
        )


class DatabaseOutdated(StoreError):
    """The data folder was served with a later state of this database, or with another database.

    Nothing was changed. `mark` is the file with the folder's generation; `same` says whether this
    is the folder's own database.
    """

    def __init__(self, path: Path, mark: Path, *, same: bool) -> None:
        self.path = path
        self.mark = mark
        what = "an older copy" if same else "the database of another data folder"
        super().__init__(
            f"{path} is {what}: this data folder was served with a later database, and has data "
            "that is not in this one. Put the latest database back, or restore a backup into a new "
            "folder with `predictd restore FILE --data DIR`. To continue with this database, "
            f"remove {mark}: data that is not in it is moved to `trash`, files of projects stay"
        )


class DataFolderBusy(StoreError):
    """Another process has locked the data folder; `pid` is None when it is not known yet."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        holder = "another process" if pid is None else f"the process with PID {pid}"
        super().__init__(f"the data folder {path} is in use by {holder}")


class DataFolderUnusable(StoreError):
    """The data folder cannot be created or written, or other users could change it."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the data folder {path} cannot be used: {reason}")


class StoreFailed(StoreError):
    """SQLite or the disk failed. An open transaction was rolled back."""


class StoreFull(StoreFailed):
    """The disk is full. Reads still work, and writes do as soon as there is space (gotcha G6)."""


class StoreDamaged(StoreFailed):
    """The database file is corrupt: the disk, or another program, has changed it."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} is damaged: {reason}. Restore a backup into a new data folder. Without a "
            'backup, copy this folder and try `sqlite3 predictd.db ".recover"`'
        )
