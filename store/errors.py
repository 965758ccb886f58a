"""Everything the store refuses or fails at, each as one named error that carries its facts.

Callers decide by type and attributes; the text is written for people. `StoreFailed` is the only one
that nobody asked for: the machine, not the request, is at fault.
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
        super().__init__(f"{event!r} cannot happen to this {noun}: it is {state!r}")


class BuildInUse(StoreError):
    """A build cannot be deleted while deployments run on it. Nothing was changed."""

    def __init__(self, number: int, deployments: Sequence[int]) -> None:
        self.number = number
        self.deployments = tuple(deployments)
        users = ", ".join(str(deployment) for deployment in deployments)
        super().__init__(f"build {number} is in use by deployment {users}")


class SchemaTooNew(StoreError):
    """A newer predictd has written this database; it was opened, read and left as it is."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(
            f"{path} has schema {found}, this predictd knows schemas up to {known}: "
            "start the newer predictd, or restore the backup made before the upgrade"
        )


class DatabaseOutdated(StoreError):
    """The data folder has seen a later state of the database, or another one; it was left as it is.
    `mark` is the file that says so, `same` whether it is the folder's own database."""

    def __init__(self, path: Path, mark: Path, *, same: bool) -> None:
        self.path = path
        self.mark = mark
        what = "an older copy" if same else "the database of another data folder"
        super().__init__(
            f"{path} is {what}: this folder was served with a later one, and has data that is not "
            "in it. Put the latest one back, or restore a backup into a new folder with `predictd "
            f"restore FILE --data DIR`. To go on with this one, remove {mark}: what it does not "
            "know is moved to `trash`, files of projects stay"
        )


class DataFolderBusy(StoreError):
    """Another process holds the data folder; `pid` is None when it has not said who it is yet."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        holder = "another process" if pid is None else f"the process with pid {pid}"
        super().__init__(f"the data folder {path} is in use by {holder}")


class DataFolderUnusable(StoreError):
    """The data folder cannot be made or written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the data folder {path} cannot be used: {reason}")


class StoreFailed(StoreError):
    """SQLite or the disk failed. A transaction that was open was rolled back."""


class StoreFull(StoreFailed):
    """The disk is full. Reads go on, and so do writes as soon as there is room (gotcha G6)."""


class StoreDamaged(StoreFailed):
    """The database is not what was written: the disk, or somebody, has changed it."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} is damaged: {reason}. Restore a backup into a new data folder; without one, "
            'keep a copy of this folder and try `sqlite3 predictd.db ".recover"`'
        )
