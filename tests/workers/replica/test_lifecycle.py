"""The life of a replica, move by move."""

from itertools import product

import pytest

from workers.errors import IllegalTransition
from workers.replica.lifecycle import TABLE, Event, State, advance


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_of_state_and_event_is_decided(state: State, event: Event) -> None:
    """A pair that the table lists leads to its state; any other raises and names both."""
    if event in TABLE[state]:
        assert advance(state, event) is TABLE[state][event]
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value} does not know {event.value}"):
            advance(state, event)


@pytest.mark.parametrize("state", [s for s in State if s is not State.GONE])
def test_process_may_end_in_every_state(state: State) -> None:
    """From every state but the last, killing and ending are possible."""
    assert advance(state, Event.KILL) is State.STOPPING
    assert advance(state, Event.EXITED) is State.GONE


def test_gone_is_final() -> None:
    """Nothing follows GONE."""
    assert TABLE[State.GONE] == {}


def test_only_an_idle_replica_gets_a_ticket() -> None:
    """Only IDLE accepts ASSIGNED, so no replica ever has two tickets."""
    assert [state for state in State if Event.ASSIGNED in TABLE[state]] == [State.IDLE]


def test_ending_replica_is_never_idle_again() -> None:
    """No event leads back from DRAINING or STOPPING."""
    reached, last = {State.DRAINING, State.STOPPING}, set[State]()
    while reached != last:
        last = set(reached)
        reached |= {after for state in last for after in TABLE[state].values()}
    assert reached == {State.DRAINING, State.STOPPING, State.GONE}
