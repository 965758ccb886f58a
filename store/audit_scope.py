"""The audit entry of a request, written in the transaction of the request's first change.

    with store.auditing(pending):
        await database.write(store.users.update, user.id, disabled=True)

The entry goes into the first transaction of this task, or of one that it starts, inside the block:
both are committed, or neither is. Law: a request has one entry at most. The caller looks at
`entered` afterwards, and writes the entry by `audit.append` if no row was changed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from store.records import AuditEntry


class PendingAuditEntry:
    """`describe` returns the entry, given what the transaction returned; None for no entry."""

    def __init__(self, describe: Callable[[object], AuditEntry | None]) -> None:
        self.describe = describe
        self.entered = False
        self._over = False

    def claim(self) -> bool:
        """Return whether the transaction that begins now has to write the entry."""
        if self.entered or self._over:
            return False
        self.entered = True
        return True

    def release(self) -> None:
        """The transaction was rolled back: the next one may write the entry."""
        self.entered = False

    def end(self) -> None:
        """No later transaction writes the entry, even in a task that the request started."""
        self._over = True


_current: ContextVar[PendingAuditEntry | None] = ContextVar("pending_audit_entry", default=None)


def current() -> PendingAuditEntry | None:
    """Return the pending audit entry of this task."""
    return _current.get()


@contextmanager
def auditing(pending: PendingAuditEntry) -> Iterator[None]:
    """Write the entry with the first change that is made in this block."""
    token = _current.set(pending)
    try:
        yield
    finally:
        _current.reset(token)
        pending.end()
