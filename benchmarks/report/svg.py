"""Pictures as inline SVG: bars and lines, so that a page needs no other file.

Colours are variables of the page, for light, dark and paper. A point shows its figures when the
pointer is on it, and beside each picture is a table with all figures.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.report.record import Bars, Lines, Picture, shown

_WIDTH = 720
# The approximate width of a letter of a label, and the largest width of the labels together.
_LETTER = 6.8
_LABELS = 340
_VALUES = 140
_BAR = 20
_GAP = 9
_HEIGHT = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 16, 48


def svg(picture: Picture) -> str:
    return _bars(picture) if isinstance(picture, Bars) else _lines(picture)


def _bars(picture: Bars) -> str:
    known = [value for value in picture.values.values() if value is not None]
    left = min(_LABELS, 20 + _LETTER * max(map(len, picture.values), default=0))
    scale = Scale(known, picture.logarithmic, 0, _WIDTH - left - _VALUES, from_zero=True)
    parts = []
    for row, (name, value) in enumerate(picture.values.items()):
        top = row * (_BAR + _GAP) + _GAP
        middle = top + _BAR / 2
        parts.append(_text(left - 10, middle, name, "label end"))
        if value is None:
            parts.append(_text(left + 4, middle, "not measured", "muted"))
            continue
        length = max(2.0, scale.at(value))
        kind = "bar ours" if name == picture.ours else "bar"
        told = f"{shown(value)} {picture.unit}"
        parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{length:.1f}" height="{_BAR}" '
            f'rx="3"><title>{escape(f"{name}: {told}")}</title></rect>'
        )
        parts.append(_text(left + length + 8, middle, told, "value"))
    return _drawing(picture.title, len(picture.values) * (_BAR + _GAP) + _GAP, parts)


def _lines(picture: Lines) -> str:
    points = [point for series in picture.series.values() for point in series]
    if not points:
        return _drawing(picture.title, 40, [_text(_LEFT, 20, "nothing was measured", "muted")])
    xs, ys = zip(*points, strict=True)
    across = Scale(xs, picture.logarithmic, _LEFT, _WIDTH - _RIGHT)
    up = Scale(ys, picture.logarithmic, _HEIGHT - _BOTTOM, _TOP, from_zero=not picture.logarithmic)
    parts = [*_axes(picture, across, up)]
    for number, (name, series) in enumerate(picture.series.items()):
        path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in series)
        parts.append(f'<polyline class="line s{number % 5}" points="{path}"/>')
        for x, y in series:
            told = f"{name}: {shown(y)} {picture.y} at {shown(x)} {picture.x}"
            parts.append(
                f'<circle class="point s{number % 5}" cx="{across.at(x):.1f}" '
                f'cy="{up.at(y):.1f}" r="3.5"><title>{escape(told)}</title></circle>'
            )
    parts += _legend(picture.series)
    return _drawing(picture.title, _HEIGHT + 24, parts)


def _axes(picture: Lines, across: "Scale", up: "Scale") -> Iterable[str]:
    bottom = _HEIGHT - _BOTTOM
    for y in up.ticks():
        at = up.at(y)
        yield _line("grid", _LEFT, at, _WIDTH - _RIGHT, at)
        yield _text(_LEFT - 8, at, f"{y:,g}", "tick end")
    for x in across.ticks():
        at = across.at(x)
        yield _line("grid", at, _TOP, at, bottom)
        yield _text(at, bottom + 14, f"{x:,g}", "tick middle")
    yield _text((_LEFT + _WIDTH) / 2, bottom + 34, picture.x, "tick middle")
    yield _text(8, 6, picture.y, "tick")


def _legend(names: Iterable[str]) -> Iterable[str]:
    left: float = _LEFT
    for number, name in enumerate(names):
        top = _HEIGHT + 12
        yield _line(f"line s{number % 5}", left, top, left + 22, top)
        yield _text(left + 28, top, name, "tick")
        left += 50 + _LETTER * len(name)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" dy="0.35em">{escape(words)}</text>'


def _drawing(title: str, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


class Scale:
    """Maps a value to a position between `first` and `last`, linear or logarithmic."""

    def __init__(
        self,
        values: Sequence[float],
        logarithmic: bool,
        first: float,
        last: float,
        *,
        from_zero: bool = False,
    ) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self._logarithmic = logarithmic
        self._first, self._last = first, last
        if logarithmic:
            # The axis begins below the smallest value, so that its bar has a length too.
            low = min(positive) / (2 if from_zero else 1)
            self._low, self._high = _floor_of_ten(low), max(positive)
        else:
            self._low = 0.0 if from_zero else min(values, default=0.0)
            self._high = max(*values, 0.0) if values else 1.0
        if self._high <= self._low:
            self._high = self._low + 1 if not logarithmic else self._low * 10

    def at(self, value: float) -> float:
        low, high = self._low, self._high
        if self._logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        """Round values between both ends."""
        if self._logarithmic:
            first = round(math.log10(_floor_of_ten(self._low)))
            last = math.ceil(math.log10(self._high))
            steps = (1, 2, 5) if last - first <= 2 else (1,)
            made = [m * 10.0**power for power in range(first, last + 1) for m in steps]
        else:
            rough = (self._high - self._low) / 5
            step = _floor_of_ten(rough)
            step *= next(m for m in (1, 2, 5, 10) if m * step >= rough)
            first = math.ceil(self._low / step)
            made = [step * n for n in range(first, int(self._high / step) + 1)]
        return [tick for tick in made if self._low <= tick <= self._high]


def _floor_of_ten(value: float) -> float:
    """The largest power of ten that is not above the value."""
    return 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
