"""A ticket gets exactly one outcome."""

from workers.replica.ticket import Abandoned, Answered, NotReady, Ticket


class FakeOwner:
    """An owner that remembers who asked to leave, and lets them if they still wait."""

    def __init__(self, *, waits: bool = True) -> None:
        self.asked: list[Ticket] = []
        self._waits = waits

    def withdraw(self, ticket: Ticket) -> bool:
        self.asked.append(ticket)
        return self._waits


def test_first_outcome_counts() -> None:
    """Later outcomes change nothing and are not reported."""
    calls: list[Ticket] = []
    ticket = Ticket(b"{}", calls.append)
    ticket.settle(Answered(b"1", "r"))
    ticket.settle(NotReady("too late"))
    assert ticket.outcome == Answered(b"1", "r")
    assert calls == [ticket]


def test_abandoned_ticket_notifies_its_owner_once() -> None:
    """The owner of the ticket is told that its caller disconnected, and the outcome says so."""
    for waits in (True, False):
        owner, ticket = FakeOwner(waits=waits), Ticket(b"{}", lambda _: None)
        ticket.owner = owner
        ticket.abandon()
        ticket.abandon()
        assert owner.asked == [ticket]
        assert ticket.outcome == Abandoned()


def test_running_ticket_cannot_be_withdrawn() -> None:
    """Only a waiting ticket can be withdrawn."""
    ticket = Ticket(b"{}", lambda _: None)
    ticket.owner = FakeOwner(waits=False)
    assert not ticket.withdraw()
    assert ticket.outcome is None
    ticket.owner = FakeOwner(waits=True)
    assert ticket.withdraw()
    assert ticket.outcome == Abandoned()


def test_ticket_with_an_outcome_cannot_be_abandoned() -> None:
    """A ticket that has its outcome cannot be abandoned."""
    owner, ticket = FakeOwner(), Ticket(b"{}", lambda _: None)
    ticket.owner = owner
    ticket.settle(Answered(b"1", "r"))
    ticket.abandon()
    assert owner.asked == []
    assert ticket.outcome == Answered(b"1", "r")
