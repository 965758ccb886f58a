"""A ticket gets exactly one outcome."""

from workers.ticket import Abandoned, Answered, NotReady, Ticket
from workers.timers import Timers


class FakeOwner:
    """An owner that remembers who was abandoned."""

    def __init__(self) -> None:
        self.abandoned: list[Ticket] = []

    def withdraw(self, ticket: Ticket) -> bool:
        self.abandoned.append(ticket)
        return True


def test_the_first_outcome_counts() -> None:
    """Later outcomes change nothing and wake nobody."""
    calls: list[Ticket] = []
    ticket = Ticket(b"{}", calls.append)
    ticket.settle(Answered(b"1", "r"))
    ticket.settle(NotReady("too late"))
    assert ticket.outcome == Answered(b"1", "r")
    assert calls == [ticket]


def test_an_outcome_ends_the_deadline() -> None:
    """A settled ticket leaves no timer behind."""
    timers = Timers()
    ticket = Ticket(b"{}", lambda _: None)
    ticket.timer = timers.call_at(1.0, bool)
    ticket.settle(Answered(b"1", "r"))
    assert len(timers) == 0


def test_abandoning_tells_the_owner_once() -> None:
    """Whoever has the ticket hears that its caller went away, and the outcome says so."""
    owner, ticket = FakeOwner(), Ticket(b"{}", lambda _: None)
    ticket.owner = owner
    ticket.abandon()
    ticket.abandon()
    assert owner.abandoned == [ticket]
    assert ticket.outcome == Abandoned()


def test_abandoning_comes_too_late_for_an_outcome() -> None:
    """A ticket that has its outcome cannot be abandoned."""
    owner, ticket = FakeOwner(), Ticket(b"{}", lambda _: None)
    ticket.owner = owner
    ticket.settle(Answered(b"1", "r"))
    ticket.abandon()
    assert owner.abandoned == []
    assert ticket.outcome == Answered(b"1", "r")
