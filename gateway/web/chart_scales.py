"""Scales of charts: where values are on an axis, which ticks it has, how numbers read. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

_TICKS = 4  # about
_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000
_TIME_STEPS = (
    *(n * _SECOND for n in (1, 5, 10, 30)),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14, 30, 90, 365)),
)
# A unit with the larger ones that a number of it is shown in: (at least, divided by, name).
_UNITS: dict[str, tuple[tuple[float, float, str], ...]] = {
    "ms": ((60_000, 60_000, "min"), (1000, 1000, "s")),
    "s": ((3600, 3600, "h"), (60, 60, "min")),
    "B": ((2**30, 2**30, "GiB"), (2**20, 2**20, "MiB"), (2**10, 2**10, "KiB")),
}


class Scale(NamedTuple):
    """An axis from `low` to `high`; `log` for a logarithmic one."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is, from 0 for `low` to 1 for `high`. A value outside is at the edge."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(1.0, max(0.0, (value - low) / (high - low)))


def linear(values: Sequence[float], unit: str = "", *, zero: bool = True) -> Scale:
    """A scale for these values; from zero, unless `zero` is false."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (0.0, 1.0) if low == 0 else (low - abs(low) / 2, high + abs(high) / 2)
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(high - low)):
        low, high = 0.0, 1.0
    step = _nice_step((high - low) / _TICKS, unit)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple((n * step, number(n * step, unit)) for n in range(first, last + 1))
    return Scale(first * step, last * step, ticks)


def logarithmic(values: Sequence[float], unit: str = "") -> Scale:
    """A scale of powers of ten for the positive ones of these values."""
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    first = min(307, math.floor(math.log10(min(positive)) + 1e-9))
    last = min(308, max(first + 1, math.ceil(math.log10(max(positive)) - 1e-9)))
    every = max(1, (last - first) // _TICKS)
    ticks = tuple((10.0**n, number(10.0**n, unit)) for n in range(first, last + 1, every))
    return Scale(10.0**first, 10.0**last, ticks, log=True)


def times(low: float, high: float) -> Scale:
    """A scale of milliseconds of Unix time, with ticks at whole minutes, hours or days of UTC."""
    high = max(high, low + _SECOND)
    step = next((s for s in _TIME_STEPS if (high - low) / s <= _TICKS + 2), 365 * _DAY)
    first = math.ceil(low / step)
    ticks = tuple(
        (n * step, _time_tick(n * step, step)) for n in range(first, int(high // step) + 1)
    )
    return Scale(low, high, ticks)


def number(value: float, unit: str = "") -> str:
    """A number as people read it, with three or four digits: `3.1 ms`, `12k`, `1.5 GiB`."""
    for least, divided, name in _UNITS.get(unit, ()):
        if abs(value) >= least:
            return f"{_digits(value / divided)} {name}"
    if unit == "%":
        return f"{_digits(value)} %"
    if unit not in _UNITS and 10_000 <= abs(value) < 1e15:
        for divided, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= divided:
                return f"{_digits(value / divided)}{suffix}{_after(unit)}"
    return f"{_digits(value)}{_after(unit)}"


def exact_time(at: float) -> str:
    """Milliseconds of Unix time as text in UTC."""
    return _utc(at).strftime("%Y-%m-%d %H:%M:%S")


def _after(unit: str) -> str:
    return unit if unit.startswith("/") or not unit else f" {unit}"


def _digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-0", "0")
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:.2e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


def _nice_step(rough: float, unit: str) -> float:
    """The next step of 1, 2 or 5 times a power of ten, of the unit that is shown."""
    divided = 1.0
    for least, by, _ in _UNITS.get(unit, ()):
        if rough * _TICKS >= least:
            divided = by
            break
    power = 10.0 ** math.floor(math.log10(rough / divided))
    step = next(n for n in (1, 2, 5, 10) if n * power * divided >= rough * (1 - 1e-9))
    return step * power * divided


def _time_tick(at: float, step: float) -> str:
    form = "%-d %b" if step >= _DAY else "%H:%M" if step >= _MINUTE else "%H:%M:%S"
    return _utc(at).strftime(form)


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(max(0.0, min(at, 4e12)) / 1000, UTC)
