"""The histogram keeps three digits of every duration, and adds up."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.histogram import Histogram

durations = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)
shares = st.sampled_from((0.0, 0.1, 0.5, 0.9, 0.99, 1.0))


@given(durations, shares)
def test_a_percentile_is_near_the_exact_one(values: list[int], share: float) -> None:
    """The value found is within 0.1 % of the value at that place in the sorted list."""
    ordered = sorted(values)
    exact = next(v for n, v in enumerate(ordered, 1) if n >= share * len(ordered))
    assert abs(Histogram.of(values).at(share) - exact) <= exact * 0.001


@given(durations, durations, shares)
def test_histograms_add_up(ones: list[int], others: list[int], share: float) -> None:
    """Two merged are the same as one that saw everything."""
    merged = Histogram.merged([Histogram.of(ones), Histogram.of(others)])
    assert merged == Histogram.of(ones + others)
    assert merged.at(share) == Histogram.of(others + ones).at(share)


@given(durations)
def test_the_largest_is_exact(values: list[int]) -> None:
    """The worst case is told as it was, and no percentile passes it."""
    histogram = Histogram.of(values)
    assert histogram.largest == max(values)
    assert histogram.at(1.0) <= max(values)


def test_nothing_seen() -> None:
    """An empty histogram has nothing to tell and does not fail over it."""
    assert (Histogram().count, Histogram().at(0.99), Histogram().between(0, 1e9)) == (0, 0, 0)


def test_between_counts_what_lies_inside() -> None:
    """Those inside the bounds count, the others do not."""
    second = 1_000_000_000
    seen = Histogram.of([1 * second, 29 * second, 30 * second, 31 * second, 60 * second])
    assert seen.between(28.9 * second, 31.1 * second) == 3
