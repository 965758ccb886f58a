"""How values are distributed, and how far a distribution has drifted from a reference. Pure.

Drift is the population stability index (PSI): the sum over bins of (p - q) * ln(p / q), where the
bins of numbers are tenths of the reference, and those of labels the labels. Up to 0.1 a
distribution counts as stable, up to 0.25 as moderately drifted. Of few values the PSI is high by
chance, so a distribution counts as stable, too, where a chi-square test of the same bins does not
tell it from the reference (p >= 0.01).

All functions of numbers take them sorted, and take less than a millisecond for 10,000.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

MOST_BINS = 30
_TENTHS = 10
# Fewer values of the window or of the reference say nothing about drift.
LEAST_VALUES = 10
_STABLE, _MODERATE = 0.1, 0.25
_CHANCE = 0.01

DriftLevel = Literal["stable", "moderate", "strong"]


class NumberSummary(msgspec.Struct, frozen=True, kw_only=True):
    """`sd` is null for one number."""

    count: int
    mean: float
    sd: float | None
    min: float
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float
    max: float


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Equally wide bins: `edges` has one more than the counts. A reference has the same bins."""

    edges: list[float]
    counts: list[int]
    reference_counts: list[int] | None = None


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    psi: float
    p_value: float
    level: DriftLevel


def summary(numbers: Sequence[float]) -> NumberSummary | None:
    """None of no numbers."""
    if not numbers:
        return None
    count = len(numbers)
    mean = math.fsum(numbers) / count
    # From one of them: the mean of large numbers is rounded more than they may deviate.
    apart = [number - numbers[count // 2] for number in numbers]
    middle = [math.fsum(apart) / count] * count
    sd = math.dist(apart, middle) / math.sqrt(count - 1) if count > 1 else None
    p5, p25, p50, p75, p95 = (quantile(numbers, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
    return NumberSummary(
        count=count,
        mean=mean,
        sd=sd,
        min=numbers[0],
        p5=p5,
        p25=p25,
        p50=p50,
        p75=p75,
        p95=p95,
        max=numbers[-1],
    )


def quantile(numbers: Sequence[float], share: float) -> float:
    """Between the two nearest numbers by linear interpolation, as NumPy does."""
    place = share * (len(numbers) - 1)
    below = math.floor(place)
    above = min(below + 1, len(numbers) - 1)
    part = place - below
    between = numbers[below] * (1 - part) + numbers[above] * part
    # Which rounding may leave.
    return min(max(between, numbers[below]), numbers[above])


def histogram(
    numbers: Sequence[float], reference: Sequence[float] | None = None
) -> Histogram | None:
    """One range of bins for the numbers and the reference; None where there are no numbers."""
    both = [each for each in (numbers, reference) if each]
    if not both:
        return None
    low, high = min(each[0] for each in both), max(each[-1] for each in both)
    if not low < high:
        around = max(0.5, abs(low) / 100)
        low, high = low - around, high + around
    bins = max(1, min(MOST_BINS, math.ceil(math.sqrt(max(map(len, both))))))
    edges = [low + (high - low) * n / bins for n in range(bins)] + [high]
    return Histogram(
        edges=edges,
        counts=_counts(numbers, edges[1:-1]),
        reference_counts=None if reference is None else _counts(reference, edges[1:-1]),
    )


def drift_of_numbers(numbers: Sequence[float], reference: Sequence[float]) -> Drift | None:
    """None where either has too few."""
    if min(len(numbers), len(reference)) < LEAST_VALUES:
        return None
    cuts = sorted({quantile(reference, n / _TENTHS) for n in range(1, _TENTHS)})
    return _drift(_counts(numbers, cuts), _counts(reference, cuts))


def drift_of_labels(
    counts: Mapping[str, int], total: int, reference: Mapping[str, int], reference_total: int
) -> Drift | None:
    """The totals include labels that are not in the counts, which are one bin."""
    if min(total, reference_total) < LEAST_VALUES:
        return None
    labels = sorted({*counts, *reference})
    mine = [counts.get(label, 0) for label in labels]
    theirs = [reference.get(label, 0) for label in labels]
    return _drift(
        [*mine, max(0, total - sum(mine))], [*theirs, max(0, reference_total - sum(theirs))]
    )


def _counts(numbers: Sequence[float], cuts: Sequence[float]) -> list[int]:
    """How many numbers are up to each cut, and above the last."""
    places = [0, *(bisect_right(numbers, cut) for cut in cuts), len(numbers)]
    return [after - before for before, after in pairwise(places)]


def _drift(counts: Sequence[int], reference: Sequence[int]) -> Drift:
    pairs = [(n, m) for n, m in zip(counts, reference, strict=True) if n or m]
    if len(pairs) < 2:
        return Drift(psi=0.0, p_value=1.0, level="stable")
    total, reference_total, bins = sum(counts), sum(reference), len(pairs)
    psi = 0.0
    for n, m in pairs:
        # Half a value more in each bin: an empty one would make the sum infinite.
        p = (n + 0.5) / (total + 0.5 * bins)
        q = (m + 0.5) / (reference_total + 0.5 * bins)
        psi += (p - q) * math.log(p / q)
    p_value = _p_value(pairs, total, reference_total)
    return Drift(psi=round(psi, 4), p_value=p_value, level=_level(psi, p_value))


def _level(psi: float, p_value: float) -> DriftLevel:
    if psi <= _STABLE or p_value >= _CHANCE:
        return "stable"
    return "moderate" if psi <= _MODERATE else "strong"


def _p_value(pairs: Sequence[tuple[int, int]], total: int, reference_total: int) -> float:
    """Of the chi-square test of homogeneity, by the approximation of Wilson and Hilferty."""
    scale = math.sqrt(reference_total / total)
    chi_square = sum((n * scale - m / scale) ** 2 / (n + m) for n, m in pairs)
    degrees = len(pairs) - 1
    part = 2 / (9 * degrees)
    z = ((chi_square / degrees) ** (1 / 3) - (1 - part)) / math.sqrt(part)
    return float(f"{math.erfc(z / math.sqrt(2)) / 2:.3g}")
