"""When requests are due, and being woken for it."""

import select
import time
from itertools import pairwise
from statistics import mean

import pytest

from benchmarks.load.pacing import Timer, due_times


def test_a_constant_rate_is_evenly_spaced() -> None:
    """So many a second, each as far from the next."""
    due = list(due_times(1000, 2, poisson=False))
    assert len(due) == 2000
    assert {b - a for a, b in pairwise(due)} == {1_000_000}


def test_poisson_arrivals_have_the_rate_on_average() -> None:
    """Random, but as many; ascending; within the time."""
    due = list(due_times(1000, 20, poisson=True))
    assert mean(b - a for a, b in pairwise(due)) == pytest.approx(1_000_000, rel=0.05)
    assert due == sorted(due)
    assert due[-1] < 20e9


def test_every_contender_meets_the_same_arrivals() -> None:
    """Chance is the same chance for all."""
    assert list(due_times(50, 5, poisson=True)) == list(due_times(50, 5, poisson=True))


def test_the_timer_is_readable_when_it_is_due_and_not_before() -> None:
    """It sleeps until then, and is quiet once noted."""
    timer = Timer()
    try:
        due = time.monotonic_ns() + 20_000_000
        timer.set(due)
        assert select.select([timer.fd], [], [], 5.0)[0]
        assert time.monotonic_ns() >= due
        timer.clear()
        assert not select.select([timer.fd], [], [], 0)[0]
    finally:
        timer.close()
