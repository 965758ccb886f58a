"""Changes that come by the thousand: the first of each kind is entered, the others counted."""

from gateway.control.audit.change_counter import KINDS, ChangeCounter, ChangeKind


def test_the_first_is_entered_and_the_others_are_counted() -> None:
    """A new while begins when the counts are taken."""
    tally, ada, bob = (
        ChangeCounter(),
        ChangeKind("metrics.delay", "ada"),
        ChangeKind("metrics.delay", "bob"),
    )
    assert [tally.is_first(ada) for _ in range(5)] == [True] + [False] * 4
    assert tally.is_first(bob)
    assert tally.drain() == {ada: 4}
    assert tally.drain() == {}
    assert tally.is_first(ada)


def test_kinds_are_bounded() -> None:
    """Beyond so many they are counted by action and outcome, and none is lost."""
    tally = ChangeCounter()
    entered = sum(tally.is_first(ChangeKind("metrics.delay", f"{n}")) for n in range(3 * KINDS))
    counted = tally.drain()
    assert entered == KINDS + 1
    assert counted == {ChangeKind("metrics.delay"): 2 * KINDS - 1}
