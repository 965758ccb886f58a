"""The queue in front of a pool: bounded, and nobody is lost or served twice."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.fair_queue import FairQueue, QueueFull
from workers.ticket import Ticket


def a_ticket(size: int = 2) -> Ticket:
    return Ticket(b"x" * size, lambda _: None)


def test_first_come_first_served() -> None:
    """Tickets leave in the order in which they came."""
    queue = FairQueue(most_requests=10, most_bytes=100)
    tickets = [a_ticket() for _ in range(5)]
    for ticket in tickets:
        queue.push(ticket)
    assert [queue.pop() for _ in tickets] == tickets


@pytest.mark.parametrize(("bounds", "named"), [((2, 100), "2 requests"), ((9, 5), "5 bytes")])
def test_a_bound_is_kept_and_named(bounds: tuple[int, int], named: str) -> None:
    """What would pass a bound is not added, and the error says which bound."""
    queue = FairQueue(most_requests=bounds[0], most_bytes=bounds[1])
    queue.push(a_ticket())
    queue.push(a_ticket())
    with pytest.raises(QueueFull, match=named):
        queue.push(a_ticket())
    assert (len(queue), queue.waiting_bytes) == (2, 4)


def test_an_empty_queue_has_nobody_to_give() -> None:
    """pop and remove raise KeyError where there is nobody."""
    queue = FairQueue(most_requests=1, most_bytes=1)
    with pytest.raises(KeyError):
        queue.pop()
    with pytest.raises(KeyError):
        queue.remove(a_ticket())


class AnyUse(RuleBasedStateMachine):
    """Pushes, pops and departures in any order, against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(most_requests=5, most_bytes=100)
        self.waiting: list[Ticket] = []

    @rule(size=st.integers(0, 60))
    def push(self, size: int) -> None:
        ticket = a_ticket(size)
        fits = len(self.waiting) < 5 and sum(len(t.request) for t in self.waiting) + size <= 100
        try:
            self.queue.push(ticket)
        except QueueFull:
            assert not fits
        else:
            assert fits
            self.waiting.append(ticket)

    @precondition(lambda self: self.waiting)
    @rule()
    def pop(self) -> None:
        assert self.queue.pop() is self.waiting.pop(0)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.waiting) - 1))
        self.queue.remove(self.waiting.pop(place))

    @invariant()
    def nobody_is_lost_or_doubled(self) -> None:
        assert list(self.queue) == self.waiting
        assert len(self.queue) == len(self.waiting)
        assert self.queue.waiting_bytes == sum(len(t.request) for t in self.waiting)
        assert all(ticket in self.queue for ticket in self.waiting)


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=100, deadline=None)
