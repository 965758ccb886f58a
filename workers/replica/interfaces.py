"""What a replica needs from others: the event loop, its process and its pool."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from workers.reactor.timers import MovableTimer, Timer
from workers.replica.ticket import Outcome, Ticket

if TYPE_CHECKING:
    from workers.replica.replica import Replica


class EventLoop(Protocol):
    """What a replica and a pool need from the reactor. `working` counts the busy replicas."""

    working: int

    def now(self) -> float: ...
    def call_at(self, due: float, call: Callable[[], object]) -> Timer: ...
    def alarm(self, call: Callable[[], object]) -> MovableTimer: ...
    def register(self, fd: int, events: int, handler: Callable[[int], None]) -> None: ...
    def modify(self, fd: int, events: int) -> None: ...
    def unregister(self, fd: int) -> None: ...


class ReplicaProcess(Protocol):
    """What a replica needs from its process; see `Process`."""

    @property
    def pid(self) -> int: ...
    @property
    def command_pid(self) -> int: ...
    def know_command(self) -> None: ...
    def resident(self) -> int: ...
    def kill(self) -> None: ...


Checked = Callable[[Outcome | None, str], None]
# Checks a large answer of the replica of this name in another process, then calls back: with an
# outcome for the caller if the check could not be made, else with the problem ("": none).
Check = Callable[[bytes | bytearray, str, Checked], None]


class ReplicaOwner(Protocol):
    """What a replica reports to its pool, from callbacks of the reactor. `check_answer` checks
    answers that are too large to be checked on the reactor; without it they are checked there."""

    check_answer: Check | None

    def replica_ready(self, replica: "Replica") -> None: ...
    def replica_settled(
        self, replica: "Replica", ticket: Ticket, outcome: Outcome, now: float
    ) -> None: ...
    def replica_tracked(self, body: bytes | bytearray) -> None: ...
    def replica_leaving(self, replica: "Replica") -> None: ...
    def replica_gone(self, replica: "Replica") -> None: ...
    def replica_cleaned(self, replica: "Replica") -> None: ...
