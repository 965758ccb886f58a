"""The queue in front of a pool: who is served next, and when it is full.

Pure: no clock, no I/O. Bounded in number and in bytes of requests. For now one line, first come,
first served; what is fair among flows is decided here and nowhere else.
"""

from collections import OrderedDict
from collections.abc import Iterator

from workers.ticket import Ticket


class QueueFull(Exception):
    """Adding would pass the bound named in the message."""


class FairQueue:
    """Tickets that wait; each can leave at any time in O(1)."""

    def __init__(self, *, most_requests: int, most_bytes: int) -> None:
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        # Takes from the front and forgets from the middle, both in O(1); a plain dict would walk
        # over the holes that its first entries left.
        self._tickets: OrderedDict[Ticket, None] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._tickets

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def push(self, ticket: Ticket) -> None:
        """Adds at the end. Raises QueueFull and adds nothing where a bound would be passed."""
        if len(self._tickets) >= self._most_requests:
            raise QueueFull(f"{self._most_requests} requests are waiting already")
        if self._bytes + len(ticket.request) > self._most_bytes:
            raise QueueFull(f"waiting requests would pass {self._most_bytes} bytes")
        self._tickets[ticket] = None
        self._bytes += len(ticket.request)

    def pop(self) -> Ticket:
        """Takes the ticket to serve next. Raises KeyError when nobody waits."""
        ticket, _ = self._tickets.popitem(last=False)
        self._bytes -= len(ticket.request)
        return ticket

    def remove(self, ticket: Ticket) -> None:
        """Lets a ticket leave. Raises KeyError where it does not wait here."""
        del self._tickets[ticket]
        self._bytes -= len(ticket.request)
