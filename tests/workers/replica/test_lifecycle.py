"""The life of a replica, move by move."""

from itertools import product

import pytest

from workers.errors import IllegalTransition
from workers.replica.lifecycle import TABLE, Event, State, advance


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_is_decided(state: State, event: Event) -> None:
    """A pair that the table lists leads where it says; any other raises and names both."""
    if event in TABLE[state]:
        assert advance(state, event) is TABLE[state][event]
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value} does not know {event.value}"):
            advance(state, event)


@pytest.mark.parametrize("state", [s for s in State if s is not State.GONE])
def test_a_process_may_end_at_any_time(state: State) -> None:
    """From every state but the last, killing and ending are possible."""
    assert advance(state, Event.KILL) is State.STOPPING
    assert advance(state, Event.EXITED) is State.GONE


def test_gone_is_the_end() -> None:
    """Nothing follows GONE."""
    assert TABLE[State.GONE] == {}


def test_only_an_idle_replica_gets_a_ticket() -> None:
    """ASSIGNED is known to IDLE alone, so no replica ever holds two."""
    assert [state for state in State if Event.ASSIGNED in TABLE[state]] == [State.IDLE]


def test_who_is_to_end_is_never_idle_again() -> None:
    """No way leads back from DRAINING or STOPPING."""
    reached, last = {State.DRAINING, State.STOPPING}, set[State]()
    while reached != last:
        last = set(reached)
        reached |= {after for state in last for after in TABLE[state].values()}
    assert reached == {State.DRAINING, State.STOPPING, State.GONE}
