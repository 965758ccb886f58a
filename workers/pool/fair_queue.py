"""The queue in front of a pool: which ticket is served next, and when the queue is full.

Pure: no clock, no I/O; times are arguments, in seconds.

Which is next (start-time fair queueing). Each flow has a virtual time: the seconds of service that
it has had. Next is the flow with the least, and of that flow the oldest ticket. The queue has a
virtual time too: that of the flow that was served last. A flow that begins to wait starts no
further back than there: having been idle earns nothing, and having used idle replicas costs
nothing. The cost of a prediction is charged as an estimate when it begins, otherwise one flow would
get all replicas at once; it is corrected when the prediction has ended.

When it is full. A flow may use at most FREE_FACTOR times as much of its queue's budget as then
stays free, and a queue as much of the total budget. So the last part is for those that use least,
and no flow can fill the queue against others. No ticket is evicted for another: an accepted ticket
is served, unless its time runs out.

Bounds may change, and a queue may take over the tickets of another. Waiting tickets then continue
to wait, also where they exceed the new bounds, and no new ticket is accepted until it fits.

The laws, checked by `verify`: the counts are those of the waiting tickets; no budget is exceeded,
except by what waited when it was reduced or was taken over; every waiting flow is in the heap, at
or before its time; no ticket is due before `next_due`.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from math import inf

from workers.pool.wait_deadlines import DeadlineQueue
from workers.replica.ticket import Ticket

# A flow leaves free at least an eighth of what it uses: a single one gets eight ninths of a queue.
FREE_FACTOR = 8
# Charged beside the measured time, so that flows take turns even where no time seems to pass.
_LEAST_SECONDS = 1e-6
# How much the last prediction says about the next.
_EWMA_WEIGHT = 0.2
# The number of unused flows, or entries of the heap, that is worth a sweep.
_SLACK = 64


class QueueFull(Exception):
    """One more ticket would exceed a bound, which the message names."""


class QueueBudget:
    """How much may wait, in one queue or in several together.

    It is counted in bytes only: a request costs its size, but at least `least`, the part of each if
    the maximum number of requests waits (rounded down). So one count enforces both bounds.
    """

    __slots__ = ("excess", "free", "min_cost", "most_bytes", "most_requests", "size")

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self.resize(most_requests, most_bytes)

    def resize(self, most_requests: int, most_bytes: int) -> None:
        """Sets other bounds and resets what is used: its queues have to `charge` it again."""
        self.most_requests = most_requests
        self.most_bytes = most_bytes
        self.min_cost = max(1, most_bytes // most_requests)
        self.size = self.free = self.min_cost * min(most_requests, most_bytes)
        # How much more waits, since before a change or taken over, than the bounds allow now.
        self.excess = 0

    def charge(self, size: int) -> None:
        """Counts what waited before the bounds were set."""
        self.free -= size
        self.excess = max(0, -self.free)

    def __str__(self) -> str:
        return f"at most {self.most_requests} requests or {self.most_bytes} bytes of them may wait"


class Flow:
    """The requests of one caller: those that wait, and the service that it has had."""

    __slots__ = ("gone", "heap_time", "mean", "number", "tickets", "used", "virtual_time")

    def __init__(self, virtual_time: float, mean: float) -> None:
        self.virtual_time = virtual_time
        # The moving average of what its predictions take.
        self.mean = mean
        # In order. `gone` of them have left, at most half, so that leaving costs O(1) on average.
        self.tickets: deque[Ticket] = deque()
        self.gone = 0
        # Of its queue's budget.
        self.used = 0
        # Its entry in the queue's heap: the number (0: it has none), and its virtual time when it
        # was inserted.
        self.number = 0
        self.heap_time = 0.0


class FairQueue:
    """Tickets that wait for one pool; each can leave at any time, and enters only once.

    Read only: `waiting`, how many wait; `mean_seconds`, the moving average of what a prediction
    takes. `own` is this queue's budget, `total` the one that it shares with others.
    """

    __slots__ = (
        "_deadlines",
        "_flows",
        "_heap",
        "_number",
        "_own",
        "_sweep_at",
        "_time",
        "_total",
        "_used",
        "mean_seconds",
        "waiting",
    )

    def __init__(self, own: QueueBudget, total: QueueBudget) -> None:
        self.waiting = 0
        self.mean_seconds = 0.0
        self._own = own
        self._total = total
        self._used = 0  # of the total budget
        self._time = 0.0
        self._flows: dict[str, Flow] = {}
        self._sweep_at = _SLACK
        # An entry (key, number, flow) for each waiting flow. An entry that comes up is inserted
        # again if the flow's time has advanced, and dropped if its number is not the flow's.
        self._heap: list[tuple[float, int, Flow]] = []
        self._number = 0
        self._deadlines = DeadlineQueue()

    def __iter__(self) -> Iterator[Ticket]:
        """In each flow's order, flow after flow."""
        for flow in self._flows.values():
            yield from (ticket for ticket in flow.tickets if ticket in self._deadlines)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._deadlines

    # Entering, and leaving unserved.

    def push(self, ticket: Ticket, *, adopted: bool = False) -> None:
        """Adds a ticket. Raises QueueFull, which names the bound.

        An `adopted` ticket was accepted by another queue, so it is added even beyond the bounds.
        """
        flow = self._flows.get(ticket.flow) or self._new_flow(ticket.flow)
        own, total = self._own, self._total
        cost = total_cost = len(ticket.request)
        if cost < own.min_cost:
            cost = own.min_cost
        if total_cost < total.min_cost:
            total_cost = total.min_cost
        free, total_free = own.free - cost, total.free - total_cost
        full = flow.used > FREE_FACTOR * free or self._used > FREE_FACTOR * total_free
        if full:
            if not adopted:
                raise QueueFull(self._why_full(free, total_free))
            own.excess, total.excess = max(own.excess, -free), max(total.excess, -total_free)
        tickets = flow.tickets
        if not tickets:
            if flow.virtual_time < self._time:
                flow.virtual_time = self._time
            if not flow.number:
                self._insert(flow)
        tickets.append(ticket)
        self._deadlines.add(ticket)
        own.free, total.free = free, total_free
        flow.used += cost
        self._used += total_cost
        self.waiting += 1

    def remove(self, ticket: Ticket) -> bool:
        """Removes a ticket. False where it does not wait here."""
        if not self._deadlines.discard(ticket):
            return False
        flow = self._flows[ticket.flow]
        self._refund(flow, ticket)
        flow.gone += 1
        self._forget_gone(flow)
        return True

    def expire(self, now: float) -> list[Ticket]:
        """Removes and returns all tickets whose deadline is `now` or earlier."""
        late = []
        while (ticket := self._deadlines.first()) is not None and ticket.due <= now:
            self.remove(ticket)
            late.append(ticket)
        return late

    def next_due(self) -> float:
        """The earliest deadline of a waiting ticket; infinity for none."""
        ticket = self._deadlines.first()
        return inf if ticket is None else ticket.due

    # Being served.

    def pop(self) -> Ticket:
        """Removes the ticket that is served now. Raises IndexError when none waits."""
        heap = self._heap
        while True:
            key, number, flow = heap[0]
            if number != flow.number:
                heappop(heap)
            elif not flow.tickets:
                flow.number = 0
                heappop(heap)
            elif key < flow.virtual_time and len(heap) > 1:
                self._number = flow.number = number = self._number + 1
                flow.heap_time = flow.virtual_time
                heapreplace(heap, (flow.virtual_time, number, flow))
            else:
                ticket = flow.tickets.popleft()
                if self._deadlines.discard(ticket):
                    break
                flow.gone -= 1
        if flow.gone:
            self._forget_gone(flow)
        self._refund(flow, ticket)
        self._charge(flow, ticket)
        return ticket

    def begin(self, ticket: Ticket) -> None:
        """Charges a ticket that is served at once, without having waited."""
        flow = self._flows.get(ticket.flow) or self._new_flow(ticket.flow)
        if flow.virtual_time < self._time:
            flow.virtual_time = self._time
        self._charge(flow, ticket)

    def settle(self, ticket: Ticket, seconds: float) -> None:
        """Corrects the charge of a ticket from `pop` or `begin`, which took `seconds`."""
        flow = self._flows.get(ticket.flow) or self._new_flow(ticket.flow)
        seconds += _LEAST_SECONDS
        flow.virtual_time += seconds - ticket.charged
        flow.mean += _EWMA_WEIGHT * (seconds - flow.mean)
        self.mean_seconds += _EWMA_WEIGHT * (seconds - self.mean_seconds)
        if flow.virtual_time < flow.heap_time and flow.number:
            self._insert(flow)

    def _charge(self, flow: Flow, ticket: Ticket) -> None:
        if flow.virtual_time > self._time:
            self._time = flow.virtual_time
        else:
            # It starts at the queue's time, as new flows do. If only such flows come, the queue's
            # time still advances, at half the pace of a fair share. Otherwise they would always be
            # served before flows that have had service.
            self._time += flow.mean / (2 * len(self._heap) + 2)
        ticket.charged = flow.mean
        flow.virtual_time += flow.mean

    def _forget_gone(self, flow: Flow) -> None:
        """Drops tickets that have left, once they are more than half of the flow."""
        if 2 * flow.gone > len(flow.tickets):
            flow.tickets = deque(each for each in flow.tickets if each in self._deadlines)
            flow.gone = 0

    def _refund(self, flow: Flow, ticket: Ticket) -> None:
        own, total = self._own, self._total
        cost = total_cost = len(ticket.request)
        if cost < own.min_cost:
            cost = own.min_cost
        if total_cost < total.min_cost:
            total_cost = total.min_cost
        own.free += cost
        total.free += total_cost
        flow.used -= cost
        self._used -= total_cost
        self.waiting -= 1

    # Other bounds.

    def resize(self, most_requests: int, most_bytes: int) -> None:
        """Sets other bounds for this queue."""
        own = self._own
        own.resize(most_requests, most_bytes)
        for flow in self._flows.values():
            flow.used = 0
        for ticket in self:
            cost = max(len(ticket.request), own.min_cost)
            self._flows[ticket.flow].used += cost
            own.charge(cost)

    def total_resized(self) -> None:
        """Charges what waits here to the total budget, whose bounds have changed."""
        least = self._total.min_cost
        self._used = sum(max(len(ticket.request), least) for ticket in self)
        self._total.charge(self._used)

    # Flows.

    def _new_flow(self, name: str) -> Flow:
        if len(self._flows) >= self._sweep_at:
            self._forget_flows()
        flow = self._flows[name] = Flow(self._time, self.mean_seconds)
        return flow

    def _forget_flows(self) -> None:
        """Forgets those that equal new ones: nothing of them waits, and they are not ahead."""
        self._flows = {
            name: flow
            for name, flow in self._flows.items()
            if flow.tickets or flow.virtual_time > self._time
        }
        self._sweep_at = 2 * len(self._flows) + _SLACK

    def _insert(self, flow: Flow) -> None:
        """Inserts a new entry for the flow into the heap, which replaces any other."""
        if len(self._heap) > 2 * len(self._flows) + _SLACK:
            self._clear_heap()
        self._number = flow.number = self._number + 1
        flow.heap_time = flow.virtual_time
        heappush(self._heap, (flow.virtual_time, flow.number, flow))

    def _clear_heap(self) -> None:
        kept = []
        for entry in self._heap:
            _, number, flow = entry
            if number == flow.number:
                if flow.tickets:
                    kept.append(entry)
                else:
                    flow.number = 0
        heapify(kept)
        self._heap = kept

    def _why_full(self, free: int, total_free: int) -> str:
        if free < 0:
            return f"{self._own} for this model"
        if total_free < 0:
            return f"{self._total} for all models together"
        if self._used > FREE_FACTOR * total_free:
            return f"{self._total} for all models together; the rest is reserved for other models"
        return f"{self._own} for this model; the rest is reserved for other callers"

    # For tests.

    def verify(self) -> None:
        """Checks the laws of this file. For tests, after every event."""
        assert self.waiting == len(self._deadlines) == len(list(self)), "the count is of what waits"
        used = 0
        for flow in self._flows.values():
            waiting = [ticket for ticket in flow.tickets if ticket in self._deadlines]
            assert len(waiting) == len(flow.tickets) - flow.gone, "tickets that left are counted"
            assert 2 * flow.gone <= len(flow.tickets), "more tickets that left are kept than wait"
            costs = [max(len(ticket.request), self._own.min_cost) for ticket in waiting]
            assert flow.used == sum(costs), "a flow uses what waits"
            used += flow.used
            if waiting:
                assert (flow.heap_time, flow.number, flow) in self._heap, (
                    "a waiting flow is in the heap"
                )
                assert flow.heap_time <= flow.virtual_time, "a waiting flow is found in time"
        own, total = self._own, self._total
        assert -own.excess <= own.free == own.size - used, "free is what is not used"
        costs = [max(len(ticket.request), self._total.min_cost) for ticket in self]
        assert self._used == sum(costs), "a queue uses what waits"
        assert -total.excess <= total.free <= total.size - self._used, "the total is not exceeded"
        assert len(self._heap) <= 2 * len(self._flows) + _SLACK + 1, "the heap is swept"
        assert self.next_due() == min((t.due for t in self), default=inf), "no ticket is due before"
