"""A pool: the tickets of one deployment, those that wait and those that its replicas hold.

The replicas sit in *slots* (slots.py), which see to it that there are some. What is decided here is
which ticket an idle one gets, who waits, and who is refused.

The laws, checked by `verify`:
- No ticket waits while a replica is idle.
- A ticket is in one place: the queue, or one replica.
- Nobody waits longer than it may, nor for a replica that is certain to come too late.

All decisions are plain `def`s on the reactor's thread: between looking and changing nothing else
runs, and the pipes of replicas are the only effect.
"""

from collections import Counter, deque
from collections.abc import Callable
from math import ceil, inf

import trio

from workers.errors import StartFailed
from workers.log import Line, Log
from workers.pool.fair_queue import FairQueue, QueueBudget, QueueFull
from workers.pool.slots import Launch, ReplicaSlots
from workers.pool.statistics import PoolStatistics
from workers.process.limit_monitor import MonitoredTree
from workers.replica.interfaces import Check, EventLoop
from workers.replica.lifecycle import IDLE, StopReason
from workers.replica.replica import Replica
from workers.replica.ticket import Answered, Busy, NotReady, Outcome, Raised, Ticket, TimedOut
from workers.spec import PoolSpec
from workers.timeouts import Timeouts

# Restarts are counted for so many flows; of more, those with the fewest are forgotten.
_MOST_BLAMED = 100
Tracked = Callable[[bytes | bytearray], object]

_HOPELESS = "no replica of the model runs, and the next will be started too late"


class Pool:
    """Serves tickets with the replicas of one spec until it is drained or stopped.

    `room` is what the requests that wait in all pools share. `tracked` gets what replicas tell of
    a prediction, once its caller has the answer; it is called by the reactor and must not block.
    `check` looks at large answers (see `ReplicaOwner`).
    """

    def __init__(
        self,
        spec: PoolSpec,
        *,
        loop: EventLoop,
        launch: Launch,
        log: Log | None,
        total_budget: QueueBudget,
        tracked: Tracked,
        check: Check | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - it is frozen
    ) -> None:
        self.spec = spec
        self.check_answer = check
        self._loop = loop
        self._queue = FairQueue(
            QueueBudget(spec.max_queued_requests, spec.max_queued_bytes), total_budget
        )
        # Set to the time at which somebody will have waited as long as it may, or before it.
        self._alarm = loop.alarm(self._refuse_late)
        self._run_seconds = spec.request_timeout
        self._most_requests = spec.recycle_after_requests or inf
        self._idle: deque[Replica] = deque()
        self._closing = False
        self._queue_full = self._waited_too_long = self._not_ready = 0
        self._abandoned = self._timed_out = 0
        self._restarts_by: Counter[str] = Counter()
        self._slots = ReplicaSlots(
            spec, loop=loop, launch=launch, log=log, owner=self, timeouts=timeouts
        )
        # Theirs; the way of each request looks into it.
        self._slot_of = self._slots.slot_of
        self.closed = self._slots.closed
        self.replica_tracked = tracked

    def __repr__(self) -> str:
        return (
            f"<Pool {self.spec.name} {self.ready}/{len(self._slots)} ready, "
            f"{self._queue.waiting} waiting{', closing' if self._closing else ''}>"
        )

    # Requests.

    async def predict(
        self, request: bytes | bytearray, flow: str = "", limit: float | None = None
    ) -> Outcome:
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
        ticket.entered = now = self._loop.now()
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
        elif not self._slot_of and ticket.due <= self._slots.next_start():
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
            self._admit(ticket, self._loop.now(), adopted=True)

    def _send_away(self) -> list[Ticket]:
        """Those who wait, in the order in which they came. They do so no longer."""
        tickets = sorted(self._queue, key=lambda ticket: ticket.entered)
        for ticket in tickets:
            self._queue.remove(ticket)
        return tickets

    def _assign(self) -> None:
        """Gives waiting tickets to idle replicas, the longest idle first."""
        while self._idle and self._queue.waiting:
            self._serve(self._idle.popleft(), self._queue.pop(), self._loop.now())

    def _serve(self, replica: Replica, ticket: Ticket, now: float) -> None:
        self._slot_of[replica].received += 1
        replica.assign(ticket, now, now + self._run_seconds)

    # Other bounds.

    def adjust(self, spec: PoolSpec) -> None:
        """Goes on by other bounds: what is asked from now on, and replicas that start from now on.
        The `spec` may differ from the present one in nothing else."""
        self.spec = spec
        self._run_seconds = spec.request_timeout
        self._most_requests = spec.recycle_after_requests or inf
        self._queue.resize(spec.max_queued_requests, spec.max_queued_bytes)
        self._slots.adjust(spec)

    def budget_resized(self) -> None:
        """What the requests that wait in all pools share has other bounds."""
        self._queue.total_resized()

    # Refusals.

    def _refuse_late(self) -> None:
        """Refuses those who have waited as long as they may."""
        for ticket in self._queue.expire(self._loop.now()):
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
        for ticket in self._queue.expire(self._slots.next_start()):
            self._refuse_not_ready(ticket, _HOPELESS)

    def _refuse_not_ready(self, ticket: Ticket, reason: str) -> None:
        self._not_ready += 1
        ticket.settle(NotReady(reason, self._ready_after()))

    def _retry_after(self) -> int:
        """In how many seconds those who wait now will be out of the way, at today's pace. Whoever
        is not served by then has waited as long as it may."""
        seconds = self._queue.mean_seconds or max(
            (self._loop.now() - r.assigned_at for r in self._slot_of if r.ticket), default=0.0
        )
        drained = (self._queue.waiting + 1) * seconds / max(1, self.ready)
        return max(1, ceil(min(drained, self.spec.request_timeout)))

    def _ready_after(self) -> int:
        """In how many seconds a replica will be ready, as far as that is known."""
        ready = self._slots.next_ready()
        return 1 if ready == inf else max(1, ceil(ready - self._loop.now()))

    # What replicas tell.

    def replica_ready(self, replica: Replica) -> None:
        self._slots.replica_ready(replica)
        self._idle.append(replica)
        self._assign()

    def replica_settled(
        self, replica: Replica, ticket: Ticket, outcome: Outcome, now: float
    ) -> None:
        queue = self._queue
        queue.settle(ticket, now - replica.assigned_at)
        slot = self._slot_of[replica]
        if isinstance(outcome, Raised) and self.spec.restart_on_exception:
            replica.stop(StopReason.RAISED)
        if replica.state is IDLE:
            # It has work again before the answer goes out.
            if queue.waiting:
                slot.received += 1
                replica.assign(queue.pop(), now, now + self._run_seconds)
            else:
                self._idle.append(replica)
            if replica.requests >= self._most_requests:
                self._slots.recycle(replica, StopReason.MAX_REQUESTS)
        # A request did this, and the next replica is on its way before the caller hears of it.
        elif self._slots.replica_lost(replica) and not isinstance(outcome, Answered):
            self._blame(ticket.flow)
        slot.count(outcome)
        if isinstance(outcome, TimedOut):
            self._timed_out += 1
        ticket.settle(outcome)

    def _blame(self, flow: str) -> None:
        """Counts the restart that a request of `flow` caused."""
        if flow not in self._restarts_by and len(self._restarts_by) >= _MOST_BLAMED:
            del self._restarts_by[min(self._restarts_by, key=self._restarts_by.__getitem__)]
        self._restarts_by[flow] += 1

    def replica_leaving(self, replica: Replica) -> None:
        """It takes no more tickets, though its process is still there."""
        if replica in self._idle:
            self._idle.remove(replica)

    def replica_gone(self, replica: Replica) -> None:
        self.replica_leaving(replica)
        if not self._slots.replica_gone(replica):
            self.stop()
        if not self._slot_of:
            self._refuse_hopeless()

    def replica_cleaned(self, replica: Replica) -> None:
        self._slots.replica_cleaned(replica)

    # The end.

    def drain(self) -> None:
        """Takes no more tickets and ends each replica when it has answered; `closed` follows.

        What waits should have been taken over by another pool; what still does is refused.
        """
        if self._closing:
            return
        self._closing = True
        self._alarm.close()
        for ticket in self._send_away():
            self._refuse_not_ready(ticket, "the model was stopped")
        self._slots.end()

    def stop(self) -> None:
        """Drains, but lets predictions go on for no longer than STOP_GRACE."""
        self.drain()
        self._slots.end_soon()

    # Replicas, all of them (see Slots).

    @property
    def ready(self) -> int:
        """How many slots have a replica that serves."""
        return self._slots.ready

    @property
    def failure(self) -> StartFailed | None:
        return self._slots.failure

    async def wait_ready(self) -> None:
        """Returns when every slot was ready at once. Raises StartFailed when one gave up."""
        await self._slots.wait_ready()

    async def restart(self) -> None:
        """Re-initialises all replicas, one after the other, each replaced when its successor is
        ready. Raises StartFailed where one does not get ready; the old one then goes on."""
        await self._slots.restart()

    def tail(self, count: int) -> list[Line]:
        """The last lines that any of its replicas printed."""
        return self._slots.tail(count)

    @property
    def logs(self) -> dict[str, Log]:
        """Each replica's log, by its name."""
        return self._slots.logs

    # For those who look.

    @property
    def monitored(self) -> list[MonitoredTree]:
        """Those of its replicas that have a process, to be asked what they take."""
        return [each.monitored for each in self._slot_of if each.monitored and each.process]

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(
            slots=self._slots.statistics(),
            ready=self.ready,
            waiting=self._queue.waiting,
            queue_full=self._queue_full,
            waited_too_long=self._waited_too_long,
            not_ready=self._not_ready,
            abandoned=self._abandoned,
            timed_out=self._timed_out,
            restarts_by=dict(self._restarts_by.most_common()),
        )

    def verify(self) -> None:
        """Checks the laws of this file. For tests, after every event."""
        self._queue.verify()
        self._slots.verify()
        assert not (self._idle and self._queue.waiting), "a ticket waits beside an idle replica"
        assert self._alarm.due <= self._queue.next_due(), "somebody waits longer than it may"
        for ticket in self._queue:
            assert ticket.owner is self, "a ticket waits where its caller does not look"
            assert ticket.outcome is None, "a ticket waits though it has its outcome"
            assert self._slot_of or ticket.due > self._slots.next_start(), "a ticket waits in vain"
        held = [r.ticket for r in self._slot_of if r.ticket is not None]
        assert len(set(held)) == len(held), "a ticket is held twice"
        assert not any(t in self._queue for t in held), "a held ticket also waits"
        idle = {r for r in self._slot_of if r.state is IDLE}
        assert set(self._idle) == idle, f"in the idle line {self._idle}, idle {idle}"
        assert len(self._idle) == len(idle), "a replica is twice in the idle line"
