"""The earliest deadline is found first, for any order of entering and leaving."""

import hypothesis.strategies as st
from hypothesis import given, settings

from workers.pool.wait_deadlines import DeadlineQueue
from workers.replica.ticket import Ticket


def due_at(due: float) -> Ticket:
    ticket = Ticket(b"{}", lambda _: None)
    ticket.due = due
    return ticket


@settings(derandomize=True, deadline=None)
@given(dues=st.lists(st.integers(0, 9), max_size=30), data=st.data())
def test_first_is_the_earliest_deadline(dues: list[int], data: st.DataObject) -> None:
    """After any entering and leaving, `first` is due no later than any other ticket."""
    line, waiting = DeadlineQueue(), list[Ticket]()
    for due in dues:
        waiting.append(due_at(due))
        line.add(waiting[-1])
        if data.draw(st.booleans()):
            assert line.discard(waiting.pop(data.draw(st.integers(0, len(waiting) - 1))))
        first = line.first()
        assert (first.due if first else None) == min((t.due for t in waiting), default=None)
        assert len(line) == len(waiting)
        assert all(ticket in line for ticket in waiting)


def test_discard_returns_whether_the_ticket_was_there() -> None:
    """discard returns whether the ticket was there, in order or out of order."""
    line, late, early = DeadlineQueue(), due_at(2.0), due_at(1.0)
    line.add(late)
    line.add(early)
    assert line.discard(early)
    assert not line.discard(early)
    assert line.discard(late)
    assert not line.discard(late)
    assert line.first() is None


def test_discarded_tickets_are_not_kept() -> None:
    """Thousands of tickets may come out of order and leave while one stays: memory does not
    grow."""
    line = DeadlineQueue()
    line.add(due_at(100.0))
    for number in range(5000):
        ticket = due_at(50.0 + number % 7)
        line.add(ticket)
        line.discard(ticket)
    assert len(line._heap) < 100
    assert len(line._out_of_order) == len(line._numbers) == 0
