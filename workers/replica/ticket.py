"""A ticket: one request waiting for its prediction, and the outcomes it can have.

The law: a ticket gets exactly one outcome, in all cases of its caller, its replica or its pool. A
caller never owns the pipe: one that disconnects abandons its ticket, and the replica finishes its
conversation without it.

A ticket is plain state: `on_outcome` is called once, on the thread of the reactor, and must not
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
    """The function raised `type` with `message`, or returned a value that JSON cannot represent.

    `request_id` is in the replica's log, beside the traceback."""

    type: str
    message: str
    replica: str
    request_id: str = ""


class Refused(msgspec.Struct, frozen=True):
    """The replica's JSON parser or the function refused the input: the caller must act."""

    message: str
    replica: str


class Died(msgspec.Struct, frozen=True):
    """The process ended, or broke the protocol, while it had the ticket. `request_id` is in the
    replica's log."""

    reason: str
    replica: str
    request_id: str = ""


class TimedOut(msgspec.Struct, frozen=True):
    """The prediction exceeded `seconds`; its replica was killed and is being replaced.

    `because` is a continuation of that sentence where the CPU limit delayed it. `request_id` is in
    the replica's log.
    """

    seconds: float
    replica: str
    because: str = ""
    request_id: str = ""


class Busy(msgspec.Struct, frozen=True):
    """No replica came free in time, or the queue is full. `retry_after` in whole seconds: when the
    queue will have drained."""

    reason: str
    retry_after: int


class NotReady(msgspec.Struct, frozen=True):
    """No replica was ready, or the pool was stopped. `retry_after` in whole seconds: when one is
    expected, if that is known."""

    reason: str
    retry_after: int = 1


class Abandoned(msgspec.Struct, frozen=True):
    """The caller disconnected first; this outcome is not read."""


Outcome = Answered | Raised | Refused | Died | TimedOut | Busy | NotReady | Abandoned


def describe_failure(outcome: Outcome) -> str:
    """What went wrong, in words for the author of the model."""
    match outcome:
        case Raised(kind, message):
            return f"{kind}: {message}"
        case Refused(message):
            return message
        case TimedOut(seconds, _, because):
            return "; ".join(filter(None, (f"it did not answer within {seconds:.3g} s", because)))
        case Died(reason) | Busy(reason) | NotReady(reason):
            return reason
        case Answered() | Abandoned():
            raise AssertionError(f"{outcome} is not a failure of the model")


class TicketOwner(Protocol):
    """The pool in whose queue a ticket waits, or whose replica has it."""

    def withdraw(self, ticket: "Ticket") -> bool:
        """Removes it from the queue. False where it no longer waits."""


class Ticket:
    """One request: raw JSON in, one outcome out.

    `flow` names the caller, for fairness. Times are of the reactor's clock, in seconds.
    """

    __slots__ = (
        "assigned",
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
        # When it came to its first pool, and its deadline in the queue.
        self.entered = self.due = 0.0
        # When a replica got it; 0 before.
        self.assigned = 0.0
        # Set by the queue: the seconds that its flow was charged in advance.
        self.charged = 0.0

    def settle(self, outcome: Outcome) -> None:
        """Sets the outcome and reports it. Later outcomes change nothing."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self.on_outcome(self)

    def withdraw(self) -> bool:
        """The caller may have disconnected: leaves the queue. False once a replica has it."""
        if self.outcome is None and self.owner is not None and self.owner.withdraw(self):
            self.settle(Abandoned())
            return True
        return False

    def abandon(self) -> None:
        """The caller has disconnected: leaves the queue, or has the replica finish unheard."""
        if not self.withdraw():
            self.settle(Abandoned())

    def __repr__(self) -> str:
        return f"<Ticket {len(self.request)} bytes {self.outcome or 'open'}>"
