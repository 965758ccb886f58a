"""Experiments side by side: the last value of each metric, and its series to draw. Pure.

Experiments may have a million metric values together. So values are added in batches, in time
linear in their number, and the result is returned in parts; other tasks run in between. Each series
has as many values as can be drawn, and only the first MOST_KEYS keys are returned.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from store import RunMetric

# The values of one batch, which takes a quarter of a millisecond.
BATCH = 250
MOST_EXPERIMENTS = 20
MOST_KEYS = 1000
MOST_DRAWN = 500

# Seconds and value by turns. The garbage collector does not look into an array; to look into lists
# of a million numbers would take 30 ms at once.
Series: TypeAlias = "array[float]"
_NOTHING: Series = array("d")
_write = msgspec.json.encode


class Comparison:
    """Call `begin` for each experiment, in their order, then `add` with its metrics."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._left_out: set[str] = set()
        # Of each experiment: the last value by key; its numbers, with the seconds since its first
        # value.
        self._latest: list[dict[str, object]] = []
        self._series: list[dict[str, Series]] = []
        self._began: int | None = None

    def begin(self) -> None:
        """The values that are added from now on belong to the next experiment."""
        self._latest.append({})
        self._series.append({})
        self._began = None

    def add(self, points: Sequence[RunMetric]) -> None:
        latest, series = self._latest[-1], self._series[-1]
        if self._began is None and points:
            self._began = points[0].time
        began = self._began or 0
        for point in points:
            key, value = point.key, point.value
            if key not in self._keys:
                if len(self._keys) >= MOST_KEYS:
                    self._left_out.add(key)
                    continue
                self._keys.add(key)
            latest[key] = value
            if isinstance(value, int | float) and not isinstance(value, bool):
                if key not in series:
                    series[key] = array("d")
                series[key].extend(((point.time - began) / 1000, value))

    def parts(self, most_series: int = MOST_KEYS, most_drawn: int = MOST_DRAWN) -> Iterator[bytes]:
        """`"metrics":{...},"series":{...},"left_out_keys":0` as JSON, in parts. Call it once.

        `metrics` has, for each key, the last value in each experiment, null for none. `series` has
        the first keys of which an experiment tracked several numbers.
        """
        keys = sorted(self._keys)
        yield b'"metrics":{'
        for number, key in enumerate(keys):
            values = [each.get(key) for each in self._latest]
            yield b"%b%b:%b" % (b"," if number else b"", _write(key), _write(values))
        yield b'},"series":{'
        sent = 0
        for key in keys:
            # Freed here: to free all at once would take 10 ms.
            drawn = [each.pop(key, _NOTHING) for each in self._series]
            if max(map(len, drawn), default=0) < 4 or sent == most_series:
                continue
            yield b"%b%b:[" % (b"," if sent else b"", _write(key))
            sent += 1
            for number, each in enumerate(drawn):
                yield (b"," if number else b"") + _write(_thinned(each, most_drawn))
            yield b"]"
        yield b'},"left_out_keys":%d' % len(self._left_out)


def _thinned(series: Series, most: int) -> list[tuple[float, float]]:
    """At most so many of the values, evenly chosen, the first and the last among them."""
    last = len(series) // 2 - 1
    if last < most:
        return list(zip(series[::2], series[1::2], strict=True))
    chosen = (2 * (number * last // (most - 1)) for number in range(most))
    return [(series[each], series[each + 1]) for each in chosen]
