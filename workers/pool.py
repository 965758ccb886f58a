"""A pool: the replicas that serve one deployment, the tickets that wait for them, and `assign`.

Each replica fills a *seat* (seat.py), whose name, counters and log stay when it is replaced.

The laws, checked by `verify`:
- No ticket waits while a replica is idle.
- A ticket is in one place: the queue, or one replica.
- Every seat has a replica, or a timer that will bring one, until the pool closes.
- Nobody waits longer than it may, nor for a replica that is certain to come too late.

All decisions are plain `def`s on the reactor's thread: between looking and changing nothing else
runs. `launch` brings a replica's process about; it is the only effect, besides the pipes.
"""

import secrets
from collections import deque
from math import ceil, inf
from string import ascii_lowercase, digits
from typing import Protocol

import msgspec
import trio

from workers.errors import StartFailed
from workers.fair_queue import FairQueue, QueueFull, Room
from workers.lifecycle import BUSY, IDLE, STARTING
from workers.log import Line, Log
from workers.replica import Clock, Replica, Why
from workers.seat import Seat, SeatStatistics
from workers.spec import PoolSpec
from workers.ticket import Busy, NotReady, Outcome, Raised, Ticket, TimedOut

# Between starts that fail: 0.25 s, doubled each time, at most half a minute.
_BACKOFF_FIRST = 0.25
_BACKOFF_MOST = 30.0
# A replica that ends by itself sooner than this after it was ready has failed to start.
_STEADY = 5.0
# How long predictions may go on once the model is told to stop.
STOP_GRACE = 1.0
_HOPELESS = "no replica of the model runs, and the next will be started too late"


class Launch(Protocol):
    """Brings about the process of a replica, in its own time."""

    def __call__(self, replica: Replica, log: Log) -> None: ...


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The pool as it is now. The last five count requests since it was opened.

    No replica got those in `queue_full`, `waited_too_long` (told that it is busy, both),
    `not_ready` and `abandoned`; one did get those that `timed_out`.
    """

    seats: list[SeatStatistics]
    ready: int
    waiting: int
    queue_full: int
    waited_too_long: int
    not_ready: int
    abandoned: int
    timed_out: int

    @property
    def busy(self) -> int:
        return self.queue_full + self.waited_too_long


class Pool:
    """Serves tickets with the replicas of one spec until it is drained or stopped.

    `room` is what the requests that wait in all pools share.
    """

    def __init__(
        self, spec: PoolSpec, *, clock: Clock, launch: Launch, log: Log | None, room: Room
    ) -> None:
        self.spec = spec
        self.failure: StartFailed | None = None
        self.log = log
        self.closed = trio.Event()
        self._settled = trio.Event()
        self._clock = clock
        self._launch = launch
        self._queue = FairQueue(Room(spec.queue_requests, spec.queue_bytes), room)
        # Set to the time at which somebody will have waited as long as it may, or before it.
        self._alarm = clock.alarm(self._refuse_late)
        self._run_seconds = spec.request_timeout
        self._idle: deque[Replica] = deque()
        self._seats = [self._new_seat() for _ in range(spec.replicas)]
        self._seat_of: dict[Replica, Seat] = {}
        # Replicas of which something may be left: a process, its children, its folder.
        self._uncleaned: set[Replica] = set()
        self._closing = False
        self._queue_full = self._waited_too_long = self._not_ready = 0
        self._abandoned = self._timed_out = 0
        # What the last start took, until its replica was ready.
        self._start_seconds = 0.0
        for seat in self._seats:
            self._fill(seat)

    def __repr__(self) -> str:
        return (
            f"<Pool {self.spec.name} {self.ready}/{len(self._seats)} ready, "
            f"{self._queue.waiting} waiting{', closing' if self._closing else ''}>"
        )

    @property
    def ready(self) -> int:
        """How many seats have a replica that serves."""
        serving = (IDLE, BUSY)
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
        ticket.entered = now = self._clock.now()
        limit = self._run_seconds
        if ticket.limit is not None and ticket.limit < limit:
            limit = ticket.limit
        ticket.due = now + limit
        self._admit(ticket, now)

    def _admit(self, ticket: Ticket, now: float, *, adopted: bool = False) -> None:
        ticket.owner = self
        if self._idle:  # so nobody waits
            self._queue.begin(ticket)
            self._serve(self._idle.popleft(), ticket, now)
        elif self._closing:
            self._refuse_not_ready(ticket, "the model was stopped")
        elif not self._seat_of and ticket.due <= self._next_start():
            self._refuse_not_ready(ticket, _HOPELESS)
        else:
            self._let_wait(ticket, adopted)

    def _let_wait(self, ticket: Ticket, adopted: bool) -> None:
        try:
            self._queue.push(ticket, adopted=adopted)
        except QueueFull as full:
            self._queue_full += 1
            ticket.settle(Busy(str(full), self._retry_after()))
        else:
            if ticket.due < self._alarm.due:
                self._alarm.set(ticket.due)

    def withdraw(self, ticket: Ticket) -> bool:
        """Takes a ticket out of the queue. False where a replica has begun with it."""
        if not self._queue.remove(ticket):
            return False
        self._abandoned += 1
        return True

    def take_over(self, other: "Pool") -> None:
        """Serves from now on what waits in `other`; each may wait as long as it could there."""
        for ticket in other._send_away():
            self._admit(ticket, self._clock.now(), adopted=True)

    def _send_away(self) -> list[Ticket]:
        """Those who wait, in the order in which they came. They do so no longer."""
        tickets = sorted(self._queue, key=lambda ticket: ticket.entered)
        for ticket in tickets:
            self._queue.remove(ticket)
        return tickets

    def _assign(self) -> None:
        """Gives waiting tickets to idle replicas, the longest idle first."""
        while self._idle and self._queue.waiting:
            self._serve(self._idle.popleft(), self._queue.pop(), self._clock.now())

    def _serve(self, replica: Replica, ticket: Ticket, now: float) -> None:
        self._seat_of[replica].received += 1
        replica.assign(ticket, now, now + self._run_seconds)

    # Refusals.

    def _refuse_late(self) -> None:
        """Refuses those who have waited as long as they may."""
        for ticket in self._queue.expire(self._clock.now()):
            if self.ready == 0:
                reason = "no replica of the model became ready in time"
                self._refuse_not_ready(ticket, reason)
            else:
                self._waited_too_long += 1
                reason = f"no replica came free within {ticket.due - ticket.entered:.3g} s"
                ticket.settle(Busy(reason, self._retry_after()))
        self._alarm.set(self._queue.next_due())

    def _refuse_hopeless(self) -> None:
        """Refuses those who may wait until the next start and no longer: there is no replica.

        Only an operator could bring one sooner.
        """
        for ticket in self._queue.expire(self._next_start()):
            self._refuse_not_ready(ticket, _HOPELESS)

    def _refuse_not_ready(self, ticket: Ticket, reason: str) -> None:
        self._not_ready += 1
        ticket.settle(NotReady(reason, self._ready_after()))

    def _next_start(self) -> float:
        """When another replica will be started; infinity for never."""
        return min((seat.timer.due for seat in self._seats if seat.timer), default=inf)

    def _retry_after(self) -> int:
        """In how many seconds those who wait now will be out of the way, at today's pace. Whoever
        is not served by then has waited as long as it may."""
        seconds = self._queue.mean_seconds or max(
            (self._clock.now() - r.assigned_at for r in self._seat_of if r.ticket), default=0.0
        )
        drained = (self._queue.waiting + 1) * seconds / max(1, self.ready)
        return max(1, ceil(min(drained, self.spec.request_timeout)))

    def _ready_after(self) -> int:
        """In how many seconds a replica will be ready, if its start takes as long as the last."""
        begun = [r.started_at for r in self._seat_of if r.state is STARTING]
        start = min(begun, default=self._next_start())
        if start == inf:
            return 1
        return max(1, ceil(start + self._start_seconds - self._clock.now()))

    # What replicas tell.

    def replica_ready(self, replica: Replica) -> None:
        seat = self._seat_of[replica]
        if replica is seat.successor:
            self._succeed(seat)
        self._start_seconds = self._clock.now() - replica.started_at
        self._idle.append(replica)
        self._assign()
        if self.ready == len(self._seats):
            self._settled.set()

    def replica_settled(
        self, replica: Replica, ticket: Ticket, outcome: Outcome, now: float
    ) -> None:
        queue = self._queue
        queue.settle(ticket, now - replica.assigned_at)
        seat = self._seat_of[replica]
        if isinstance(outcome, Raised) and self.spec.restart_on_exception:
            replica.stop(Why.RAISED)
        if replica.state is IDLE:
            # It has work again before the answer goes out.
            if queue.waiting:
                seat.received += 1
                replica.assign(queue.pop(), now, now + self._run_seconds)
            else:
                self._idle.append(replica)
        elif seat.replica is replica:
            # A request did this, so its successor starts at once, before the caller hears of it.
            self._replace(seat)
        seat.count(outcome)
        if isinstance(outcome, TimedOut):
            self._timed_out += 1
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
        if not self._seat_of:
            self._refuse_hopeless()

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
        self._alarm.close()
        for ticket in self._send_away():
            self._refuse_not_ready(ticket, "the model was stopped")
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
            waiting=self._queue.waiting,
            queue_full=self._queue_full,
            waited_too_long=self._waited_too_long,
            not_ready=self._not_ready,
            abandoned=self._abandoned,
            timed_out=self._timed_out,
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
        self._queue.verify()
        assert not (self._idle and self._queue.waiting), "a ticket waits beside an idle replica"
        assert self._alarm.due <= self._queue.next_due(), "somebody waits longer than it may"
        for ticket in self._queue:
            assert ticket.owner is self, "a ticket waits where its caller does not look"
            assert ticket.outcome is None, "a ticket waits though it has its outcome"
            assert self._seat_of or ticket.due > self._next_start(), "a ticket waits in vain"
        held = [r.ticket for r in self._seat_of if r.ticket is not None]
        assert len(set(held)) == len(held), "a ticket is held twice"
        assert not any(t in self._queue for t in held), "a held ticket also waits"
        idle = {r for r in self._seat_of if r.state is IDLE}
        assert set(self._idle) == idle, f"in the idle line {self._idle}, idle {idle}"
        assert len(self._idle) == len(idle), "a replica is twice in the idle line"
        if not self._closing:
            for seat in self._seats:
                assert seat.replica or seat.timer, f"nobody will fill {seat.name}"


def _five_letters() -> str:
    """What ends a replica's name, as in `predict-2-9-7cf557b957-5wjld`."""
    return "".join(secrets.choice(ascii_lowercase + digits) for _ in range(5))
