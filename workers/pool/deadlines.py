"""Who has waited as long as it may: tickets by the time until which each may wait. Pure.

Most tickets may wait equally long, so they come in order of their dues: a line, of which any can
leave in O(1). The few that come out of order, since they may wait less than others, go through a
heap beside it, which holds numbers only: nothing of a ticket stays when it has left.
"""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from math import inf

from workers.replica.ticket import Ticket

# So many entries of the heap may be those of tickets that have left before it is worth a sweep.
_SLACK = 64


class DeadlineQueue:
    """Tickets that wait, each in here once, until its `due`."""

    __slots__ = ("_heap", "_last", "_line", "_number", "_numbers", "_out_of_order")

    def __init__(self) -> None:
        # Forgets from the middle and finds its first in O(1); a plain dict would walk over the
        # holes that its first entries left.
        self._line: OrderedDict[Ticket, None] = OrderedDict()
        self._last = -inf
        self._heap: list[tuple[float, int]] = []
        self._out_of_order: dict[int, Ticket] = {}
        self._numbers: dict[Ticket, int] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._line) + len(self._numbers)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._line or ticket in self._numbers

    def add(self, ticket: Ticket) -> None:
        if ticket.due >= self._last or not self._line:
            self._last = ticket.due
            self._line[ticket] = None
            return
        self._number += 1
        self._numbers[ticket] = self._number
        self._out_of_order[self._number] = ticket
        heappush(self._heap, (ticket.due, self._number))

    def discard(self, ticket: Ticket) -> bool:
        """Lets it leave. False where it is not in here."""
        if ticket in self._line:
            del self._line[ticket]
            return True
        if ticket not in self._numbers:
            return False
        del self._out_of_order[self._numbers.pop(ticket)]
        if len(self._heap) > 2 * len(self._numbers) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._out_of_order]
            heapify(self._heap)
        return True

    def first(self) -> Ticket | None:
        """The one that is due first."""
        while self._heap and self._heap[0][1] not in self._out_of_order:
            heappop(self._heap)
        in_line = next(iter(self._line), None)
        if not self._heap:
            return in_line
        beside = self._out_of_order[self._heap[0][1]]
        return beside if in_line is None or beside.due < in_line.due else in_line
