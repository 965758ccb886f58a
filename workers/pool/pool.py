"""A pool: the tickets of one deployment, those that wait and those that its replicas have.

`ReplicaSlots` (slots.py) keeps the replicas running. This file decides which ticket an idle replica
gets, which tickets wait and which are refused.

The laws, checked by `verify`:
- No ticket waits while a replica is idle.
- A ticket is in the queue or in one replica, never in both.
- No ticket waits past its deadline, nor for a replica that is certain to start too late.

All decisions are plain `def`s on the reactor's thread: between reading state and changing it
nothing else runs, and writes to the pipes of replicas are the only effect.
"""

from collections import Counter, deque
from collections.abc import Callable
from math import ceil, inf

import trio

from workers.errors import StartFailed
from workers.log import Line, Log
from workers.pool.fair_queue import FairQueue, QueueBudget, QueueFull
from workers.pool.slots import ReplicaSlots, StartReplica
from workers.pool.statistics import PoolStatistics
from workers.process.limit_monitor import MonitoredTree
from workers.replica.interfaces import Check, EventLoop
from workers.replica.lifecycle import IDLE, StopReason
from workers.replica.replica import Replica
from workers.replica.ticket import Answered, Busy, NotReady, Outcome, Raised, Ticket, TimedOut
from workers.retry_pauses import RetryPauses
from workers.spec import PoolSpec

# Restarts are counted for this number of flows; of more, those with the fewest are forgotten.
_MOST_BLAMED = 100
Tracked = Callable[[bytes | bytearray], object]

_HOPELESS = "no replica of the model runs, and the next will be started too late"


class Pool:
    """Serves tickets with the replicas of one spec until it is drained or stopped.

    `total_budget` is shared by the waiting requests of all pools. `tracked` gets the metrics of a
    prediction after its caller got the answer; it is called by the reactor and must not block.
    `check` checks large answers (see `ReplicaOwner`). Only the first `filled` slots get a replica
    at once.
    """

    def __init__(
        self,
        spec: PoolSpec,
        *,
        loop: EventLoop,
        launch: StartReplica,
        log: Log | None,
        total_budget: QueueBudget,
        tracked: Tracked,
        check: Check | None = None,
        timeouts: RetryPauses = RetryPauses(),  # noqa: B008 - it is frozen
        filled: int | None = None,
    ) -> None:
        self.spec = spec
        self.check_answer = check
        self._loop = loop
        self._queue = FairQueue(
            QueueBudget(spec.max_queued_requests, spec.max_queued_bytes), total_budget
        )
        # Set to the earliest deadline of a waiting ticket, or before it.
        self._alarm = loop.alarm(self._refuse_late)
        self._run_seconds = spec.request_timeout
        self._most_requests = spec.recycle_after_requests or inf
        self._idle: deque[Replica] = deque()
        self._closing = False
        self._queue_full = self._waited_too_long = self._not_ready = 0
        self._abandoned = self._timed_out = 0
        self._restarts_by: Counter[str] = Counter()
        self._slots = ReplicaSlots(
            spec,
            loop=loop,
            launch=launch,
            log=log,
            owner=self,
            timeouts=timeouts,
            filled=spec.replicas if filled is None else filled,
        )
        # The slots' own; read for each request.
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
        """The outcome of one request, raw JSON. When cancelled, it abandons its ticket."""
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
        if self._idle:  # so no ticket waits
            self._queue.begin(ticket)
            self._serve(self._idle.popleft(), ticket, now)
        elif self._closing:
            self._refuse_not_ready(ticket, "the model was stopped")
        elif not self._slot_of and ticket.due <= self._slots.next_start():
            self._refuse_not_ready(ticket, _HOPELESS)
        else:
            self._enqueue(ticket, adopted)

    def _enqueue(self, ticket: Ticket, adopted: bool) -> None:
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
        """Takes over the queue of `other`; each ticket keeps its deadline."""
        for ticket in other._clear_queue():
            self._admit(ticket, self._loop.now(), adopted=True)

    def _clear_queue(self) -> list[Ticket]:
        """Removes and returns all waiting tickets, in the order in which they came."""
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

    # The deployment of a model that was probed (Workers.open_probed).

    def serve(self, spec: PoolSpec, tracked: Tracked) -> None:
        """Serves callers from now on, with all replicas, under the bounds of `spec`; see `adjust`.
        What the probe requested is not counted. `wait_ready` waits for all replicas again."""
        self.adjust(spec)
        self.replica_tracked = tracked
        self._slots.serve()
        for log in self.logs.values():
            log.copied_to = None

    # Other bounds.

    def adjust(self, spec: PoolSpec) -> None:
        """Applies other bounds to requests and replicas from now on. The `spec` may differ from the
        current one in nothing else."""
        self.spec = spec
        self._run_seconds = spec.request_timeout
        self._most_requests = spec.recycle_after_requests or inf
        self._queue.resize(spec.max_queued_requests, spec.max_queued_bytes)
        self._slots.adjust(spec)

    def budget_resized(self) -> None:
        """The bounds of the total budget have changed."""
        self._queue.total_resized()

    # Refusals.

    def _refuse_late(self) -> None:
        """Refuses the tickets whose deadline has passed."""
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
        """Refuses the tickets whose deadline is before the next start: there is no replica.

        Only an operator could start one sooner.
        """
        for ticket in self._queue.expire(self._slots.next_start()):
            self._refuse_not_ready(ticket, _HOPELESS)

    def _refuse_not_ready(self, ticket: Ticket, reason: str) -> None:
        self._not_ready += 1
        ticket.settle(NotReady(reason, self._ready_after()))

    def _retry_after(self) -> int:
        """In how many seconds the queue will have drained at today's pace; at most until all of it
        has passed its deadline."""
        seconds = self._queue.mean_seconds or max(
            (self._loop.now() - r.assigned_at for r in self._slot_of if r.ticket), default=0.0
        )
        drained = (self._queue.waiting + 1) * seconds / max(1, self.ready)
        return max(1, ceil(min(drained, self.spec.request_timeout)))

    def _ready_after(self) -> int:
        """In how many seconds a replica will be ready, as far as that is known."""
        ready = self._slots.next_ready()
        return 1 if ready == inf else max(1, ceil(ready - self._loop.now()))

    # Reported by replicas.

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
            # It gets its next ticket before the answer is sent.
            if queue.waiting:
                slot.received += 1
                replica.assign(queue.pop(), now, now + self._run_seconds)
            else:
                self._idle.append(replica)
            if replica.requests >= self._most_requests:
                self._slots.recycle(replica, StopReason.MAX_REQUESTS)
        # A request caused this; the next replica starts before the caller gets the outcome.
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
        """It accepts no more tickets, though its process still runs."""
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
        """Accepts no more tickets and ends each replica when it has answered; `closed` follows.

        Another pool should have taken over the queue; tickets that still wait are refused.
        """
        if self._closing:
            return
        self._closing = True
        self._alarm.close()
        for ticket in self._clear_queue():
            self._refuse_not_ready(ticket, "the model was stopped")
        self._slots.end()

    def stop(self) -> None:
        """Drains, and kills replicas whose predictions run longer than STOP_GRACE."""
        self.drain()
        self._slots.end_soon()

    # All replicas (see ReplicaSlots).

    @property
    def ready(self) -> int:
        """How many slots have a replica that serves."""
        return self._slots.ready

    @property
    def waiting(self) -> int:
        """How many tickets wait for a replica."""
        return self._queue.waiting

    @property
    def failure(self) -> StartFailed | None:
        return self._slots.failure

    async def wait_ready(self) -> None:
        """Returns when every slot was ready at once, or as many as `first_ready`. Raises
        StartFailed when one gave up."""
        await self._slots.wait_ready()

    async def restart(self) -> None:
        """Re-initialises all replicas, one after the other, each replaced when its successor is
        ready. Raises StartFailed where one does not become ready; the old one then stays, unless
        it held GPUs: such replicas end before the next one starts."""
        await self._slots.restart()

    def vacate(self, count: int) -> None:
        """Ends the replicas of this many slots, for another pool that needs their GPUs. Requests
        wait, even if none is left, until `fill_vacant` or another pool takes over."""
        self._slots.vacate(count)

    def fill_vacant(self) -> None:
        """Starts replicas in the slots that were vacated."""
        self._slots.fill_vacant()

    def tail(self, count: int) -> list[Line]:
        """The last lines that any of its replicas printed."""
        return self._slots.tail(count)

    @property
    def logs(self) -> dict[str, Log]:
        """Each replica's log, by its name."""
        return self._slots.logs

    # For operators and tests.

    @property
    def monitored(self) -> list[MonitoredTree]:
        """The trees of its replicas that have a process, to measure their usage."""
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
        assert self._alarm.due <= self._queue.next_due(), "no ticket waits past its deadline"
        for ticket in self._queue:
            assert ticket.owner is self, "a waiting ticket is owned by this pool"
            assert ticket.outcome is None, "a ticket waits though it has its outcome"
            assert self._slot_of or ticket.due > self._slots.next_start(), "a start in time"
        running = [r.ticket for r in self._slot_of if r.ticket is not None]
        assert len(set(running)) == len(running), "two replicas have one ticket"
        assert not any(t in self._queue for t in running), "a running ticket also waits"
        idle = {r for r in self._slot_of if r.state is IDLE}
        assert set(self._idle) == idle, f"listed as idle {self._idle}, idle {idle}"
        assert len(self._idle) == len(idle), "a replica is listed twice as idle"
