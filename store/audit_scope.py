"""A deed: what somebody has asked for, on its way into the audit trail.

    with store.doing(deed):
        await database.write(store.users.update, user.id, disabled=True)

Its entry is written in the transaction of the first change that is made under it, in this task or
in one that it starts: both are there, or neither is. Law: a deed has one entry at most. Whoever
began it looks at `entered` when it is over, and enters by `audit.append` what changed no row.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from store.records import AuditEntry


class PendingAuditEntry:
    """`describe` makes its entry, given what the transaction's work returned; None: it has none."""

    def __init__(self, describe: Callable[[object], AuditEntry | None]) -> None:
        self.describe = describe
        self.entered = False
        self._over = False

    def take(self) -> bool:
        """Whether the transaction that is about to begin is to write the entry."""
        if self.entered or self._over:
            return False
        self.entered = True
        return True

    def give_back(self) -> None:
        """That transaction did not happen."""
        self.entered = False

    def end(self) -> None:
        """What comes later, though begun by it, is not it."""
        self._over = True


_current: ContextVar[PendingAuditEntry | None] = ContextVar("deed", default=None)


def current() -> PendingAuditEntry | None:
    """The deed under which this task acts."""
    return _current.get()


@contextmanager
def doing(deed: PendingAuditEntry) -> Iterator[None]:
    """What is written in this block is done under this deed."""
    token = _current.set(deed)
    try:
        yield
    finally:
        _current.reset(token)
        deed.end()
