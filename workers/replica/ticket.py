"""A ticket: one request waiting for its prediction, and the outcomes it can have.

The law: a ticket gets exactly one outcome, whatever happens to its caller, its replica or its
pool. Whoever waits never owns the pipe: a caller that goes away abandons its ticket, and the
replica finishes its conversation without it.

A ticket is plain state: `on_outcome` is called once, from the thread of the reactor, and must not
block.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec


class Answered(msgspec.Struct, frozen=True):
    """The function's return value, as JSON."""

    body: bytes | bytearray
    replica: str


class Raised(msgspec.Struct, frozen=True):
    """The function raised `type` with `message`, or returned what JSON cannot say."""

    type: str
    message: str
    replica: str


class Refused(msgspec.Struct, frozen=True):
    """The replica's JSON reader cannot take the input: the caller's fault."""

    message: str
    replica: str


class Died(msgspec.Struct, frozen=True):
    """The process ended, or broke the protocol, while it held the ticket."""

    reason: str
    replica: str


class TimedOut(msgspec.Struct, frozen=True):
    """The prediction ran past `seconds`; its replica was killed and is being replaced.

    `because` goes on from there, where it was held up by its CPU limit.
    """

    seconds: float
    replica: str
    because: str = ""


class Busy(msgspec.Struct, frozen=True):
    """No replica came free in time, or the queue is full. `retry_after` in whole seconds: when
    those who wait now will be out of the way."""

    reason: str
    retry_after: int


class NotReady(msgspec.Struct, frozen=True):
    """No replica was ready, or the pool was stopped. `retry_after` in whole seconds: when one is
    expected, as far as that is known."""

    reason: str
    retry_after: int = 1


class Abandoned(msgspec.Struct, frozen=True):
    """The caller went away first; nobody reads this."""


Outcome = Answered | Raised | Refused | Died | TimedOut | Busy | NotReady | Abandoned


class TicketOwner(Protocol):
    """Where a ticket is now: the pool whose queue it waits in or whose replica holds it."""

    def withdraw(self, ticket: "Ticket") -> bool:
        """Takes it out of the queue. False where it does not wait any more."""


class Ticket:
    """One request: raw JSON in, one outcome out.

    `flow` says whose request it is, for fairness. Times are the reactor's clock, in seconds.
    """

    __slots__ = (
        "charged",
        "due",
        "entered",
        "flow",
        "limit",
        "on_outcome",
        "outcome",
        "owner",
        "request",
    )

    def __init__(
        self,
        request: bytes | bytearray,
        on_outcome: Callable[["Ticket"], None],
        flow: str = "",
        limit: float | None = None,
    ) -> None:
        self.request = request
        self.flow = flow
        self.limit = limit
        self.on_outcome = on_outcome
        self.outcome: Outcome | None = None
        self.owner: TicketOwner | None = None
        # When it came to its first pool, and until when it may wait.
        self.entered = self.due = 0.0
        # The queue's: the seconds that its flow was charged in advance.
        self.charged = 0.0

    def settle(self, outcome: Outcome) -> None:
        """Gives the outcome and wakes whoever waits. Later ones change nothing."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self.on_outcome(self)

    def withdraw(self) -> bool:
        """The caller may be gone: leaves the queue. False where a replica has begun with it."""
        if self.outcome is None and self.owner is not None and self.owner.withdraw(self):
            self.settle(Abandoned())
            return True
        return False

    def abandon(self) -> None:
        """The caller is gone: leaves the queue, or lets the replica finish for nobody."""
        if not self.withdraw():
            self.settle(Abandoned())

    def __repr__(self) -> str:
        return f"<Ticket {len(self.request)} bytes {self.outcome or 'open'}>"
