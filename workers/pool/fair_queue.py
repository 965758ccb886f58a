"""The queue in front of a pool: who is served next, and when it is full.

Pure: no clock, no I/O; times are arguments, in seconds.

Who is next (start-time fair queueing). Each flow has a virtual time: the seconds of service it has
had. Next is the flow that has had least, and of that flow the ticket that came first. The queue has
a virtual time too, where the flow stood that was served last, and a flow that begins to wait does
so no further back than there: having been idle earns nothing, and having used what nobody else
wanted costs nothing. What a prediction will take is charged as an estimate when it begins, or one
flow would get all replicas at once; it is put right when the prediction has ended.

When it is full. Whoever holds something may hold more as long as that is at most SHARE times what
then stays free: a flow in its queue, and a queue in the room of all. So the last places are for
those who hold least, and nobody can fill the queue against others. No ticket is put out to make
room for another: whoever was let in is served, unless its time runs out.

Bounds may change, and a queue may take over what waits in another: who waits then goes on waiting,
also where it is more than may wait from then on, and nobody new is let in until there is room.

The laws, checked by `verify`: what is counted is what waits; no room is overfull, unless by what
waited when it became smaller or was taken over; every flow that
waits is in the heap, no further on than it is; nobody is due before `next_due`.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from math import inf

from workers.pool.deadlines import DeadlineQueue
from workers.replica.ticket import Ticket

# Who holds something leaves free at least an eighth of it: one flow gets eight ninths of a queue.
FREE_FACTOR = 8
# Charged beside what was measured, so that turns go round even where no time seems to pass.
_LEAST_SECONDS = 1e-6
# How much the last prediction says about the next.
_EWMA_WEIGHT = 0.2
# So many flows, or entries of the heap, may be garbage before it is worth a sweep.
_SLACK = 64


class QueueFull(Exception):
    """There is no room for one more; the message names the bound."""


class QueueBudget:
    """How much may wait, in one queue or in several together.

    It is counted in bytes only: a request takes its size, but no less than `least`, which is what
    each has if as many wait as may (rounded down). So one count keeps both bounds.
    """

    __slots__ = ("excess", "free", "least", "most_bytes", "most_requests", "size")

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self.resize(most_requests, most_bytes)

    def resize(self, most_requests: int, most_bytes: int) -> None:
        """Sets other bounds and forgets what is held: the queues in it have to `hold` it again."""
        self.most_requests = most_requests
        self.most_bytes = most_bytes
        self.least = max(1, most_bytes // most_requests)
        self.size = self.free = self.least * min(most_requests, most_bytes)
        # By how much what waited already, or was taken over, is more than may wait now.
        self.excess = 0

    def hold(self, size: int) -> None:
        """Counts what waited before the bounds were set."""
        self.free -= size
        self.excess = max(0, -self.free)

    def __str__(self) -> str:
        return f"at most {self.most_requests} requests or {self.most_bytes} bytes of them may wait"


class Flow:
    """Whose requests are served fairly against others': what waits of it, and what it has had."""

    __slots__ = ("gone", "held", "key", "mean", "number", "tickets", "time")

    def __init__(self, time: float, mean: float) -> None:
        self.time = time
        # What a prediction of it takes, of late.
        self.mean = mean
        # In order; `gone` of them have left, but are at most half, so that leaving costs O(1) in
        # the long run.
        self.tickets: deque[Ticket] = deque()
        self.gone = 0
        # Of its queue's room.
        self.held = 0
        # Its entry in the queue's heap: the number (0: it has none), and the key, where its time
        # was when it was sorted in.
        self.number = 0
        self.key = 0.0


class FairQueue:
    """Tickets that wait for one pool; each can leave at any time. For one use of each ticket.

    Read only: `waiting`, how many wait; `mean_seconds`, what a prediction takes of late. `own` is
    this queue's room, `total` one that it shares with others.
    """

    __slots__ = (
        "_deadlines",
        "_flows",
        "_heap",
        "_held",
        "_number",
        "_own",
        "_sweep_at",
        "_time",
        "_total",
        "mean_seconds",
        "waiting",
    )

    def __init__(self, own: QueueBudget, total: QueueBudget) -> None:
        self.waiting = 0
        self.mean_seconds = 0.0
        self._own = own
        self._total = total
        self._held = 0  # of the room of all
        self._time = 0.0
        self._flows: dict[str, Flow] = {}
        self._sweep_at = _SLACK
        # Of each flow that waits an entry (key, number, flow). One that comes up is sorted in
        # again if the flow has moved on since, and dropped if its number is not the flow's.
        self._heap: list[tuple[float, int, Flow]] = []
        self._number = 0
        self._deadlines = DeadlineQueue()

    def __iter__(self) -> Iterator[Ticket]:
        """In each flow's order, flow after flow."""
        for flow in self._flows.values():
            yield from (ticket for ticket in flow.tickets if ticket in self._deadlines)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._deadlines

    # Coming, and leaving unserved.

    def push(self, ticket: Ticket, *, adopted: bool = False) -> None:
        """Lets it wait. Raises QueueFull, saying why, where there is no room.

        One that was let in elsewhere is `adopted`, whether there is room or not: it was promised.
        """
        flow = self._flows.get(ticket.flow) or self._new_flow(ticket.flow)
        own, total = self._own, self._total
        takes = takes_of_all = len(ticket.request)
        if takes < own.least:
            takes = own.least
        if takes_of_all < total.least:
            takes_of_all = total.least
        free, free_of_all = own.free - takes, total.free - takes_of_all
        full = flow.held > FREE_FACTOR * free or self._held > FREE_FACTOR * free_of_all
        if full:
            if not adopted:
                raise QueueFull(self._why_full(free, free_of_all))
            own.excess, total.excess = max(own.excess, -free), max(total.excess, -free_of_all)
        tickets = flow.tickets
        if not tickets:
            if flow.time < self._time:
                flow.time = self._time
            if not flow.number:
                self._line_up(flow)
        tickets.append(ticket)
        self._deadlines.add(ticket)
        own.free, total.free = free, free_of_all
        flow.held += takes
        self._held += takes_of_all
        self.waiting += 1

    def remove(self, ticket: Ticket) -> bool:
        """Lets it leave for good. False where it does not wait here."""
        if not self._deadlines.discard(ticket):
            return False
        flow = self._flows[ticket.flow]
        self._give_back(flow, ticket)
        flow.gone += 1
        self._forget_gone(flow)
        return True

    def expire(self, now: float) -> list[Ticket]:
        """Lets all leave that may wait until `now` and no longer, and returns them."""
        late = []
        while (ticket := self._deadlines.first()) is not None and ticket.due <= now:
            self.remove(ticket)
            late.append(ticket)
        return late

    def next_due(self) -> float:
        """When somebody will have waited as long as it may; infinity for never."""
        ticket = self._deadlines.first()
        return inf if ticket is None else ticket.due

    # Being served.

    def pop(self) -> Ticket:
        """Takes out the ticket that is served now. Raises IndexError when nobody waits."""
        heap = self._heap
        while True:
            key, number, flow = heap[0]
            if number != flow.number:
                heappop(heap)
            elif not flow.tickets:
                flow.number = 0
                heappop(heap)
            elif key < flow.time and len(heap) > 1:
                self._number = flow.number = number = self._number + 1
                flow.key = flow.time
                heapreplace(heap, (flow.time, number, flow))
            else:
                ticket = flow.tickets.popleft()
                if self._deadlines.discard(ticket):
                    break
                flow.gone -= 1
        if flow.gone:
            self._forget_gone(flow)
        self._give_back(flow, ticket)
        self._charge(flow, ticket)
        return ticket

    def begin(self, ticket: Ticket) -> None:
        """Tells that a ticket is served at once, without having waited."""
        flow = self._flows.get(ticket.flow) or self._new_flow(ticket.flow)
        if flow.time < self._time:
            flow.time = self._time
        self._charge(flow, ticket)

    def settle(self, ticket: Ticket, seconds: float) -> None:
        """Tells that a ticket from `pop` or `begin` was served, and took `seconds`."""
        flow = self._flows.get(ticket.flow) or self._new_flow(ticket.flow)
        seconds += _LEAST_SECONDS
        flow.time += seconds - ticket.charged
        flow.mean += _EWMA_WEIGHT * (seconds - flow.mean)
        self.mean_seconds += _EWMA_WEIGHT * (seconds - self.mean_seconds)
        if flow.time < flow.key and flow.number:
            self._line_up(flow)

    def _charge(self, flow: Flow, ticket: Ticket) -> None:
        if flow.time > self._time:
            self._time = flow.time
        else:
            # One that starts where the queue stands, as new flows do. If nothing else comes, the
            # queue still moves on, at half the pace of a fair share: or they would for ever go
            # before those that have had something.
            self._time += flow.mean / (2 * len(self._heap) + 2)
        ticket.charged = flow.mean
        flow.time += flow.mean

    def _forget_gone(self, flow: Flow) -> None:
        """So that no more are kept of them than of those who wait, and none where nobody does."""
        if 2 * flow.gone > len(flow.tickets):
            flow.tickets = deque(each for each in flow.tickets if each in self._deadlines)
            flow.gone = 0

    def _give_back(self, flow: Flow, ticket: Ticket) -> None:
        own, total = self._own, self._total
        took = took_of_all = len(ticket.request)
        if took < own.least:
            took = own.least
        if took_of_all < total.least:
            took_of_all = total.least
        own.free += took
        total.free += took_of_all
        flow.held -= took
        self._held -= took_of_all
        self.waiting -= 1

    # Other bounds.

    def resize(self, most_requests: int, most_bytes: int) -> None:
        """Sets other bounds for this queue."""
        own = self._own
        own.resize(most_requests, most_bytes)
        for flow in self._flows.values():
            flow.held = 0
        for ticket in self:
            takes = max(len(ticket.request), own.least)
            self._flows[ticket.flow].held += takes
            own.hold(takes)

    def total_resized(self) -> None:
        """The room of all has other bounds, and does not know of this queue yet."""
        least = self._total.least
        self._held = sum(max(len(ticket.request), least) for ticket in self)
        self._total.hold(self._held)

    # Flows.

    def _new_flow(self, name: str) -> Flow:
        if len(self._flows) >= self._sweep_at:
            self._forget_flows()
        flow = self._flows[name] = Flow(self._time, self.mean_seconds)
        return flow

    def _forget_flows(self) -> None:
        """Forgets those that would begin as new ones do: they wait for nothing and owe nothing."""
        self._flows = {
            name: flow
            for name, flow in self._flows.items()
            if flow.tickets or flow.time > self._time
        }
        self._sweep_at = 2 * len(self._flows) + _SLACK

    def _line_up(self, flow: Flow) -> None:
        """Gives it an entry in the heap that holds from now on, and no other does."""
        if len(self._heap) > 2 * len(self._flows) + _SLACK:
            self._clear_heap()
        self._number = flow.number = self._number + 1
        flow.key = flow.time
        heappush(self._heap, (flow.time, flow.number, flow))

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

    def _why_full(self, free: int, free_of_all: int) -> str:
        if free < 0:
            return f"{self._own} for this model"
        if free_of_all < 0:
            return f"{self._total} for all models together"
        if self._held > FREE_FACTOR * free_of_all:
            return f"{self._total} for all models together; the last places are for other models"
        return f"{self._own} for this model; the last places are for other callers"

    # For those who look.

    def verify(self) -> None:
        """Checks the laws of this file. For tests, after every event."""
        assert self.waiting == len(self._deadlines) == len(list(self)), "counted: what waits"
        held = 0
        for flow in self._flows.values():
            waiting = [ticket for ticket in flow.tickets if ticket in self._deadlines]
            assert len(waiting) == len(flow.tickets) - flow.gone, "the gone are counted"
            assert 2 * flow.gone <= len(flow.tickets), "more are kept that left than that wait"
            takes = [max(len(ticket.request), self._own.least) for ticket in waiting]
            assert flow.held == sum(takes), "a flow holds what waits"
            held += flow.held
            if waiting:
                assert (flow.key, flow.number, flow) in self._heap, "a flow that waits is lost"
                assert flow.key <= flow.time, "a flow that waits is found too late"
        own, total = self._own, self._total
        assert -own.excess <= own.free == own.size - held, "the queue's room is what is not held"
        takes = [max(len(ticket.request), self._total.least) for ticket in self]
        assert self._held == sum(takes), "a queue holds what waits"
        assert -total.excess <= total.free <= total.size - self._held, "the room of all is overfull"
        assert len(self._heap) <= 2 * len(self._flows) + _SLACK + 1, "the heap keeps garbage"
        assert self.next_due() == min((t.due for t in self), default=inf), "somebody is due before"
