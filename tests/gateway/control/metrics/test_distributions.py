"""Distributions and drift: as the definitions say, for any numbers."""

import math
import random
import statistics
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.control.metrics.distributions import (
    MOST_BINS,
    Drift,
    drift_of_labels,
    drift_of_numbers,
    histogram,
    quantile,
    summary,
)

NUMBERS = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=50).map(sorted)


def of_numbers(numbers: Sequence[float], reference: Sequence[float]) -> Drift:
    drift = drift_of_numbers(sorted(numbers), sorted(reference))
    assert drift is not None
    return drift


@given(NUMBERS)
@example([5e-324, 5e-324])
@example([3002399751580080.0, 3002399751580083.0, 3002399751580201.0])
def test_summary_is_within_the_numbers(numbers: list[float]) -> None:
    """Quantiles ascend between the least and the largest; the deviation is as in statistics."""
    found = summary(numbers)
    assert found is not None
    places = [found.min, found.p5, found.p25, found.p50, found.p75, found.p95, found.max]
    assert all(low <= high or math.isclose(low, high) for low, high in pairwise(places))
    assert (found.min, found.max, found.count) == (numbers[0], numbers[-1], len(numbers))
    if len(numbers) > 1:
        assert found.sd == pytest.approx(statistics.stdev(numbers), rel=1e-6, abs=1e-9)


def test_summary_of_no_numbers() -> None:
    """No number has no summary, one has no deviation."""
    assert summary([]) is None
    assert summary([3]).sd is None  # type: ignore[union-attr]
    assert quantile([1, 2, 3, 4], 0.5) == 2.5


@given(NUMBERS, st.none() | NUMBERS)
def test_histogram_has_each_number_once(
    numbers: list[float], reference: list[float] | None
) -> None:
    found = histogram(numbers, reference)
    assert found is not None
    assert sum(found.counts) == len(numbers)
    assert len(found.edges) == len(found.counts) + 1 <= MOST_BINS + 1
    if reference is None:
        assert found.reference_counts is None
    else:
        assert sum(found.reference_counts or ()) == len(reference)


def test_drift_of_shifted_numbers() -> None:
    """The same distribution is stable, half a deviation more moderate or strong, two strong."""
    rng = random.Random(1)

    def drawn(mean: float, n: int = 1000) -> list[float]:
        return sorted(rng.gauss(mean, 1) for _ in range(n))

    same, shifted, far = (of_numbers(drawn(mean), drawn(0)) for mean in (0, 0.4, 2))
    assert (same.level, shifted.level, far.level) == ("stable", "moderate", "strong")
    assert same.psi < 0.1 < shifted.psi < 0.25 < far.psi


def test_drift_of_few_numbers_is_seldom_by_chance() -> None:
    """Of 200 pairs of samples of 20 from one distribution, a few are more than stable."""
    rng = random.Random(2)

    def drawn() -> list[float]:
        return sorted(rng.random() for _ in range(20))

    levels = [of_numbers(drawn(), drawn()).level for _ in range(200)]
    assert sum(level != "stable" for level in levels) <= 10
    assert drift_of_numbers(drawn()[:9], drawn()) is None


def test_drift_of_discrete_values() -> None:
    """Numbers with few values, and labels, drift by their shares."""
    mostly, seldom = [0] * 900 + [1] * 100, [0] * 500 + [1] * 500
    assert of_numbers(mostly, mostly).psi == 0
    assert of_numbers(seldom, mostly).level == "strong"
    assert of_numbers([5] * 20, [5] * 30).level == "stable"
    drift = drift_of_labels({"a": 90, "b": 10}, 100, {"a": 880, "b": 120}, 1000)
    assert drift is not None
    assert drift.level == "stable"
    drift = drift_of_labels({"a": 50, "c": 50}, 100, {"a": 900, "b": 100}, 1000)
    assert drift is not None
    assert drift.level == "strong"
    assert drift_of_labels({"a": 5}, 5, {"a": 900}, 900) is None
