"""A pool: the replicas that serve one deployment, the tickets that wait for them, and `assign`.

Each replica fills a *seat* (seat.py), whose name, counters and log stay when it is replaced.

The laws, checked by `verify`:
- No ticket waits while a replica is idle.
- A ticket is in one place: the queue, or one replica.
- Every seat has a replica, or a timer that will bring one, until the pool closes.

All decisions are plain `def`s on the reactor's thread: between looking and changing nothing else
runs. `launch` brings a replica's process about; it is the only effect, besides the pipes.
"""

import secrets
from collections import deque
from math import ceil
from string import ascii_lowercase, digits
from typing import Protocol

import msgspec
import trio

from workers.errors import StartFailed
from workers.fair_queue import FairQueue, QueueFull
from workers.lifecycle import State
from workers.log import Line, Log
from workers.replica import Clock, Replica, Why
from workers.seat import Seat, SeatStatistics
from workers.spec import PoolSpec
from workers.ticket import Busy, NotReady, Outcome, Raised, Ticket

# Between starts that fail: 0.25 s, doubled each time, at most half a minute.
_BACKOFF_FIRST = 0.25
_BACKOFF_MOST = 30.0
# A replica that ends by itself sooner than this after it was ready has failed to start.
_STEADY = 5.0
# How long predictions may go on once the model is told to stop.
STOP_GRACE = 1.0


class Launch(Protocol):
    """Brings about the process of a replica, in its own time."""

    def __call__(self, replica: Replica, log: Log) -> None: ...


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The pool as it is now. `busy` and `not_ready` count requests that got no replica."""

    seats: list[SeatStatistics]
    ready: int
    waiting: int
    busy: int
    not_ready: int


class Pool:
    """Serves tickets with the replicas of one spec until it is drained or stopped."""

    def __init__(self, spec: PoolSpec, *, clock: Clock, launch: Launch, log: Log | None) -> None:
        self.spec = spec
        self.failure: StartFailed | None = None
        self.log = log
        self.closed = trio.Event()
        self._settled = trio.Event()
        self._clock = clock
        self._launch = launch
        self._queue = FairQueue(most_requests=spec.queue_requests, most_bytes=spec.queue_bytes)
        self._idle: deque[Replica] = deque()
        self._seats = [self._new_seat() for _ in range(spec.replicas)]
        self._seat_of: dict[Replica, Seat] = {}
        # Replicas of which something may be left: a process, its children, its folder.
        self._uncleaned: set[Replica] = set()
        self._closing = False
        self._busy = self._not_ready = 0
        self._service_seconds = 0.0
        for seat in self._seats:
            self._fill(seat)

    def __repr__(self) -> str:
        return (
            f"<Pool {self.spec.name} {self.ready}/{len(self._seats)} ready, "
            f"{len(self._queue)} waiting{', closing' if self._closing else ''}>"
        )

    @property
    def ready(self) -> int:
        """How many seats have a replica that serves."""
        serving = (State.IDLE, State.BUSY)
        return sum(1 for s in self._seats if s.replica and s.replica.state in serving)

    async def wait_ready(self) -> None:
        """Returns when every seat was ready at once. Raises StartFailed when one gave up."""
        await self._settled.wait()
        if self.failure is not None:
            raise self.failure

    # Requests.

    async def predict(self, request: bytes, flow: str = "", limit: float | None = None) -> Outcome:
        """The outcome of one request, raw JSON. Cancelled, it only abandons its ticket."""
        done = trio.Event()
        ticket = Ticket(request, lambda _: done.set(), flow, limit)
        self.submit(ticket)
        try:
            await done.wait()
        finally:
            ticket.abandon()
        assert ticket.outcome is not None
        return ticket.outcome

    def submit(self, ticket: Ticket) -> None:
        """Takes a ticket; its outcome comes, perhaps before this returns."""
        ticket.entered = self._clock.now()
        self._admit(ticket)

    def _admit(self, ticket: Ticket) -> None:
        ticket.owner = self
        if self._closing:
            self._refuse_not_ready(ticket, "the model was stopped")
            return
        try:
            self._queue.push(ticket)
        except QueueFull as full:
            self._busy += 1
            ticket.settle(Busy(str(full), self._retry_after()))
            return
        self._assign()
        if ticket in self._queue and ticket.timer is None:
            self._await_replica(ticket)

    def withdraw(self, ticket: Ticket) -> bool:
        """Takes a ticket out of the queue. False where a replica has begun with it."""
        if ticket not in self._queue:
            return False
        self._queue.remove(ticket)
        return True

    def take_over(self, other: "Pool") -> None:
        """Serves from now on what waits in `other`, keeping each ticket's deadline."""
        while len(other._queue):
            self._admit(other._queue.pop())

    def _assign(self) -> None:
        """Gives waiting tickets to idle replicas, the longest idle first."""
        while self._idle and len(self._queue):
            replica, ticket = self._idle.popleft(), self._queue.pop()
            ticket.cancel_timer()
            self._seat_of[replica].received += 1
            replica.assign(ticket, self.spec.request_timeout)

    def _await_replica(self, ticket: Ticket) -> None:
        due = ticket.entered + self.spec.request_timeout
        ticket.timer = self._clock.call_at(due, lambda: _waited_too_long(ticket))

    def refuse_late(self, ticket: Ticket) -> None:
        """The ticket has waited as long as it may."""
        self._queue.remove(ticket)
        if self.ready == 0:
            self._refuse_not_ready(ticket, "no replica of the model became ready in time")
        else:
            self._busy += 1
            reason = f"no replica came free within {self.spec.request_timeout:g} s"
            ticket.settle(Busy(reason, self._retry_after()))

    def _refuse_not_ready(self, ticket: Ticket, reason: str) -> None:
        self._not_ready += 1
        ticket.settle(NotReady(reason))

    def _retry_after(self) -> int:
        """In how many seconds those who wait now will have been served, at today's pace."""
        waiting = (len(self._queue) + 1) * self._service_seconds / max(1, self.ready)
        return max(1, min(ceil(waiting), ceil(self.spec.request_timeout)))

    # What replicas tell.

    def replica_ready(self, replica: Replica) -> None:
        seat = self._seat_of[replica]
        if replica is seat.successor:
            self._succeed(seat)
        self._idle.append(replica)
        self._assign()
        if self.ready == len(self._seats):
            self._settled.set()

    def replica_settled(self, replica: Replica, ticket: Ticket, outcome: Outcome) -> None:
        seat = self._seat_of[replica]
        seat.count(outcome)
        if isinstance(outcome, Raised) and self.spec.restart_on_exception:
            replica.stop(Why.RAISED)
        if replica.state is State.IDLE:
            self._note_service_time(replica.held_seconds)
            self._idle.append(replica)
            self._assign()
        elif seat.replica is replica:
            # A request did this, so its successor starts at once, before the caller hears of it.
            self._replace(seat)
        ticket.settle(outcome)

    def replica_leaving(self, replica: Replica) -> None:
        """It takes no more tickets, though its process is still there."""
        if replica in self._idle:
            self._idle.remove(replica)

    def replica_gone(self, replica: Replica) -> None:
        self.replica_leaving(replica)
        seat = self._seat_of.pop(replica)
        seat.remember_exit(replica)
        if replica is seat.successor:
            seat.successor = None
            seat.restart_ended()
        elif replica is seat.replica:
            seat.replica = None
            self._refill(seat, replica)

    def _note_service_time(self, seconds: float) -> None:
        self._service_seconds += 0.1 * (seconds - self._service_seconds)

    def replica_cleaned(self, replica: Replica) -> None:
        """Nothing is left of it: no child process, no working copy."""
        self._uncleaned.discard(replica)
        self._close_if_empty()

    # Seats.

    def _new_seat(self) -> Seat:
        name = f"{self.spec.name}-{_five_letters()}"
        return Seat(name, self.log or Log(self.spec.log_folder / f"{name}.log"))

    def _fill(self, seat: Seat) -> None:
        seat.timer = None
        seat.replica = self._start(seat)

    def _start(self, seat: Seat) -> Replica:
        replica = Replica(seat.name, self.spec.replica, self._clock, self)
        self._seat_of[replica] = seat
        self._uncleaned.add(replica)
        self._launch(replica, seat.log)
        return replica

    def _replace(self, seat: Seat) -> None:
        """The seat's replica is on its way out: another starts at once."""
        seat.replica = None
        seat.failures = 0
        if not self._closing:
            seat.restart += 1
            self._fill(seat)

    def _refill(self, seat: Seat, gone: Replica) -> None:
        """The seat's replica ended by itself: another starts, at once or after a while."""
        if self._closing:
            return
        seat.restart += 1
        now = self._clock.now()
        if gone.ready_at is not None and now - gone.ready_at >= _STEADY:
            seat.failures = 0
            self._fill(seat)
            return
        seat.failures += 1
        if self._gives_up(seat, gone):
            return
        pause = min(_BACKOFF_FIRST * 2.0 ** (seat.failures - 1), _BACKOFF_MOST)
        seat.timer = self._clock.call_at(now + pause, lambda: self._fill(seat))

    def _gives_up(self, seat: Seat, gone: Replica) -> bool:
        tries = self.spec.start_tries
        if self._settled.is_set() or tries == 0 or seat.failures < tries:
            return False
        self.failure = gone.failure or StartFailed(
            f"the model became ready and then ended: the process {gone.said}"
        )
        self._settled.set()
        self.stop()
        return True

    # Restart: each seat gets a successor first, so that nobody waits for it.

    async def restart(self) -> None:
        """Re-initialises all replicas, one after the other, each replaced when its successor is
        ready. Raises StartFailed where one does not get ready; the old one then goes on."""
        for seat in self._seats:
            if self._closing:
                return
            await self._restart_seat(seat)

    async def _restart_seat(self, seat: Seat) -> None:
        successor, restarted = self._begin_restart(seat)
        await restarted.wait()
        if successor.failure is not None:
            raise successor.failure

    def _begin_restart(self, seat: Seat) -> tuple[Replica, trio.Event]:
        """The seat's successor on its way, and what is set when it has come or failed."""
        if seat.successor is None or seat.restarted is None:
            seat.successor = self._start(seat)
            seat.restarted = trio.Event()
        return seat.successor, seat.restarted

    def _succeed(self, seat: Seat) -> None:
        old, seat.replica, seat.successor = seat.replica, seat.successor, None
        seat.restart += 1
        seat.failures = 0
        seat.cancel_timer()
        if old is not None:
            old.stop()
        seat.restart_ended()

    # The end.

    def drain(self) -> None:
        """Takes no more tickets and ends each replica when it has answered; `closed` follows.

        What waits should have been taken over by another pool; what still does is refused.
        """
        if self._closing:
            return
        self._closing = True
        if not self._settled.is_set():
            self.failure = StartFailed("the model was stopped before it was ready")
            self._settled.set()
        while len(self._queue):
            self._refuse_not_ready(self._queue.pop(), "the model was stopped")
        for seat in self._seats:
            seat.cancel_timer()
            for replica in (seat.replica, seat.successor):
                if replica is not None:
                    replica.stop()
            seat.restart_ended()
        self._close_if_empty()

    def stop(self) -> None:
        """Drains, but lets predictions go on for no longer than STOP_GRACE."""
        self.drain()
        if self._seat_of:
            self._clock.call_at(self._clock.now() + STOP_GRACE, self._kill_rest)

    def _kill_rest(self) -> None:
        for replica in list(self._seat_of):
            stopped = NotReady("the model was stopped")
            replica.kill(replica.why or Why.STOPPED, stopped)

    def _close_if_empty(self) -> None:
        if self._closing and not self._uncleaned and not self.closed.is_set():
            if self.log is None:
                for seat in self._seats:
                    seat.log.close()
            self.closed.set()

    # For those who look.

    def statistics(self) -> PoolStatistics:
        now = self._clock.now()
        return PoolStatistics(
            seats=[seat.statistics(now) for seat in self._seats],
            ready=self.ready,
            waiting=len(self._queue),
            busy=self._busy,
            not_ready=self._not_ready,
        )

    def tail(self, count: int) -> list[Line]:
        """The last lines that any of its replicas printed."""
        lines = [line for seat in self._seats for line in seat.log.tail(count)]
        return sorted(lines, key=lambda line: line.at)[-count:]

    @property
    def logs(self) -> dict[str, Log]:
        """Each replica's log, by its name."""
        return {seat.name: seat.log for seat in self._seats}

    def verify(self) -> None:
        """Checks the laws of this file. For tests, after every event."""
        assert not (self._idle and len(self._queue)), "a ticket waits beside an idle replica"
        held = [r.ticket for r in self._seat_of if r.ticket is not None]
        assert len(set(held)) == len(held), "a ticket is held twice"
        assert not any(t in self._queue for t in held), "a held ticket also waits"
        idle = {r for r in self._seat_of if r.state is State.IDLE}
        assert set(self._idle) == idle, f"in the idle line {self._idle}, idle {idle}"
        assert len(self._idle) == len(idle), "a replica is twice in the idle line"
        if not self._closing:
            for seat in self._seats:
                assert seat.replica or seat.timer, f"nobody will fill {seat.name}"


def _five_letters() -> str:
    """What ends a replica's name, as in `predict-2-9-7cf557b957-5wjld`."""
    return "".join(secrets.choice(ascii_lowercase + digits) for _ in range(5))


def _waited_too_long(ticket: Ticket) -> None:
    """The deadline follows the ticket when another pool takes it over."""
    if isinstance(ticket.owner, Pool):
        ticket.owner.refuse_late(ticket)
