"""How long tries at passwords have to wait: arithmetic on a clock that is passed in."""

import pytest

from gateway.control.accounts.throttle import (
    BACKOFFS,
    MOST_REMEMBERED,
    QUIET,
    AttemptKey,
    Kind,
    Throttle,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("kind", BACKOFFS)
def test_guessing_gets_slower(kind: Kind) -> None:
    """Some wrong ones are free; from then on each doubles the wait, up to the longest."""
    clock, keys, bounds = Clock(), [AttemptKey(kind, "ada")], BACKOFFS[kind]
    throttle, waits = Throttle(clock), []
    for _ in range(bounds.free + 20):
        throttle.failed(keys)
        waits.append(throttle.wait(keys))
        clock.now += waits[-1]
    assert waits[: bounds.free + 3] == [0] * bounds.free + [2, 4, 8]
    assert waits[-1] == bounds.longest
    assert throttle.wait([AttemptKey(kind, "bob")]) == 0
    throttle.failed(keys)
    clock.now += bounds.longest + QUIET + 1
    throttle.failed(keys)
    assert throttle.wait(keys) == 0


def test_a_try_waits_for_the_slowest_of_its_keys() -> None:
    """An attempt waits for the longest wait of its keys; equal texts of two kinds are two keys."""
    throttle = Throttle(Clock())
    for _ in range(6):
        throttle.failed([AttemptKey("place", "x"), AttemptKey("name", "x")])
    assert throttle.wait([AttemptKey("name", "x")]) == 0
    assert throttle.wait([AttemptKey("network", "x"), AttemptKey("place", "x")]) == 2


def test_the_right_password_ends_the_waiting_of_a_place() -> None:
    """Of a place or a device all is forgotten; of what others share, the one try that was right."""
    throttle, place, name = Throttle(Clock()), [AttemptKey("place", "x")], [AttemptKey("name", "x")]
    for _ in range(20):
        throttle.failed([*place, *name])
    throttle.succeeded([*place, *name])
    assert throttle.wait(place) == 0
    assert throttle.wait(name) > 0
    for keys in (place, name):
        fresh = Throttle(Clock())
        for _ in range(100):  # as by a user who signs in often
            fresh.failed(keys)
            fresh.succeeded(keys)
        assert fresh.wait(keys) == 0
        assert not any(fresh._failures.values())


@pytest.mark.parametrize("kind", BACKOFFS)
def test_the_throttle_has_an_end(kind: Kind) -> None:
    """A million names or networks fill no memory, and one that still fails is not pushed out."""
    throttle = Throttle(Clock())
    guessed = [AttemptKey(kind, "ada")]
    for number in range(1_000_000):
        throttle.failed([AttemptKey(kind, f"{number}")])
        if number % (MOST_REMEMBERED // 2) == 0:
            throttle.failed(guessed)
    assert len(throttle._failures[kind]) == MOST_REMEMBERED
    assert throttle.wait(guessed) == BACKOFFS[kind].longest
