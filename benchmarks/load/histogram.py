"""A histogram of any number of durations that keeps three digits of each.

As in HdrHistogram, buckets grow with their values. So the relative error is below 0.1 % from
nanoseconds to hours, and two histograms can be added. Percentiles of percentiles have no meaning;
percentiles of a sum of histograms do.
"""

from collections.abc import Iterable
from typing import Self

import msgspec

# The number of binary digits that are kept of a value.
_DIGITS = 11


def _bucket(value: int) -> int:
    """The middle of a value's bucket."""
    shift = value.bit_length() - _DIGITS
    return value if shift <= 0 else (value >> shift << shift) + (1 << shift >> 1)


class Histogram(msgspec.Struct):
    """How often each duration was seen. Durations are whole numbers, here nanoseconds."""

    counts: dict[int, int] = {}
    largest: int = 0

    @classmethod
    def of(cls, values: Iterable[int]) -> Self:
        made = cls()
        for value in values:
            made.add(value)
        return made

    @classmethod
    def merged(cls, several: Iterable["Histogram"]) -> Self:
        made = cls()
        for each in several:
            made.largest = max(made.largest, each.largest)
            for value, count in each.counts.items():
                made.counts[value] = made.counts.get(value, 0) + count
        return made

    def add(self, value: int) -> None:
        """Adds a value; a negative one counts as zero."""
        bucket = _bucket(max(0, value))
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.largest = max(self.largest, value)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def at(self, share: float) -> int:
        """The smallest value that this share of all values does not exceed; 0 if there are none."""
        wanted = share * self.count
        seen = 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= wanted:
                return min(value, self.largest)
        return 0

    def between(self, low: float, high: float) -> int:
        """The number of values in [low, high]."""
        return sum(count for value, count in self.counts.items() if low <= value <= high)

    def percentiles(self) -> dict[str, float]:
        """The usual percentiles, in microseconds, of values in nanoseconds."""
        shares = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
        found = {name: self.at(share) / 1000 for name, share in shares.items()}
        return {**found, "max_us": self.largest / 1000}
