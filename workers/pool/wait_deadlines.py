"""Tickets by the deadline until which each may wait. Pure.

Most tickets may wait equally long, so they arrive in the order of their deadlines, in a dictionary
that any can leave in O(1). The few with an earlier deadline go through a heap beside it, which has
numbers only: no reference to a ticket stays when it has left.
"""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from math import inf

from workers.replica.ticket import Ticket

# The number of heap entries of tickets that have left that is worth a sweep.
_SLACK = 64


class DeadlineQueue:
    """Tickets that wait, each in here once, until its `due`."""

    __slots__ = ("_heap", "_in_order", "_last", "_number", "_numbers", "_out_of_order")

    def __init__(self) -> None:
        # Removes from the middle and finds its first in O(1); a plain dict would walk over the gaps
        # of removed entries.
        self._in_order: OrderedDict[Ticket, None] = OrderedDict()
        self._last = -inf
        self._heap: list[tuple[float, int]] = []
        self._out_of_order: dict[int, Ticket] = {}
        self._numbers: dict[Ticket, int] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._in_order) + len(self._numbers)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._in_order or ticket in self._numbers

    def add(self, ticket: Ticket) -> None:
        if ticket.due >= self._last or not self._in_order:
            self._last = ticket.due
            self._in_order[ticket] = None
            return
        self._number += 1
        self._numbers[ticket] = self._number
        self._out_of_order[self._number] = ticket
        heappush(self._heap, (ticket.due, self._number))

    def discard(self, ticket: Ticket) -> bool:
        """Removes a ticket. False where it is not in here."""
        if ticket in self._in_order:
            del self._in_order[ticket]
            return True
        if ticket not in self._numbers:
            return False
        del self._out_of_order[self._numbers.pop(ticket)]
        if len(self._heap) > 2 * len(self._numbers) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._out_of_order]
            heapify(self._heap)
        return True

    def first(self) -> Ticket | None:
        """The one with the earliest deadline."""
        while self._heap and self._heap[0][1] not in self._out_of_order:
            heappop(self._heap)
        in_order = next(iter(self._in_order), None)
        if not self._heap:
            return in_order
        beside = self._out_of_order[self._heap[0][1]]
        return beside if in_order is None or beside.due < in_order.due else in_order
