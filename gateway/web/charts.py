"""Charts as SVG, drawn on the server, so that they are there without scripts. Pure.

A chart is a `<figure data-chart>`: a title, a legend, the picture, and the same numbers as a table.
The picture is as wide as its place: positions along it are percentages, and lines are in an inner
picture that is stretched, so texts keep their size on a phone. Colours and dashes come from classes
(`s1` to `s6`, or a tone such as `bad`), since no inline style is permitted. `chart.js` shows the
values under the pointer, which are in the attribute, and zooms a time axis by the page's query.

Drawing 200 points of four series takes one or two milliseconds: give a chart no more, and draw it
in a thread, so that the event loop answers others meanwhile.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from gateway.web.chart_figure import HEIGHT, AxisMark, Series, figure, kind
from gateway.web.chart_scales import Scale, linear, logarithmic, number, times

# The width of the inner picture, in its own units.
_WIDE = 1000
_SPARK = Markup(
    '<svg class="sparkline" role="img" aria-label="{}" viewBox="0 0 1000 24" '
    'preserveAspectRatio="none">{}</svg>'
)


def line_chart(
    title: str,
    x: Sequence[float],
    series: Sequence[Series],
    *,
    unit: str = "",
    time: bool = False,
    log: bool = False,
    stacked: bool = False,
    zero: bool = True,
    marks: Sequence[AxisMark] = (),
    window: tuple[float, float] | None = None,
    zoom: bool = False,
) -> Markup:
    """Lines over `x`, which ascends: numbers, or with `time` milliseconds of Unix time.

    `stacked` draws areas upon each other; `zero` false lets the axis begin elsewhere; `window` is
    what the axis shows. With `zoom` a drag leads to this page with `start_ms` and `end_ms`.
    """
    low, high = window or (min(x, default=0.0), max(x, default=1.0))
    across = times(low, high) if time else _plain(low, high)
    tops = _stacked(series) if stacked else [list(each.values) for each in series]
    known = [value for values in tops for value in values if value is not None]
    up = logarithmic(known, unit) if log else linear(known, unit, zero=zero)
    shown = [_WIDE * across.at(value) for value in x]
    draw = _areas if stacked else _lines
    inner = draw(shown, tops, up, [kind(n, each) for n, each in enumerate(series)])
    return figure(
        title,
        _frame(across, up, time=time) + _marks(marks, across) + _stretched(inner),
        series,
        list(x),
        at=shown,
        unit=unit,
        time=time,
        zoom=(low, high) if zoom and time else None,
        marks=marks,
    )


def histogram(
    title: str, edges: Sequence[float], series: Sequence[Series], *, unit: str = ""
) -> Markup:
    """Bars between `edges`, of which there is one more than values of each series. The bars of
    several series, such as a window and its reference, are side by side."""
    across = _plain(edges[0], edges[-1], unit)
    up = linear([value or 0.0 for each in series for value in each.values])
    bars = []
    for bar, (left, right) in enumerate(pairwise(edges)):
        begin, wide = 100 * across.at(left), 100 * (across.at(right) - across.at(left))
        each_wide = wide * 0.9 / len(series)
        for place, one in enumerate(series):
            tall = HEIGHT * up.at(one.values[bar] or 0.0)
            start = begin + wide * 0.05 + place * each_wide
            bars.append(
                f'<rect class="{kind(place, one)}" x="{start:.2f}%" y="{HEIGHT - tall:.1f}" '
                f'width="{each_wide:.2f}%" height="{tall:.1f}"/>'
            )
    pairs = list(pairwise(edges))
    return figure(
        title,
        _frame(across, up) + "".join(bars),
        series,
        [f"{number(left)} to {number(right, unit)}" for left, right in pairs],
        at=[500 * (across.at(left) + across.at(right)) for left, right in pairs],
        head="Range",
    )


def binned(
    groups: Sequence[Sequence[float]], most: int = 20
) -> tuple[list[float], list[list[int]]]:
    """The edges of equally wide bins for all values, and how many of each group are in each."""
    values = [value for group in groups for value in group if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if not math.isfinite(high - low):
        low, high = 0.0, 1.0
    if low == high:
        around = max(0.5, abs(low) / 100)
        low, high = low - around, high + around
    count = max(1, min(most, math.ceil(math.sqrt(len(values)))))
    counts = [[0] * count for _ in groups]
    for group, row in zip(groups, counts, strict=True):
        for value in group:
            if math.isfinite(value):
                place = max(0.0, (value - low) / (high - low) * count)
                row[int(min(count - 1, place))] += 1
    return [low + n * (high - low) / count for n in range(count + 1)], counts


def scatter(
    title: str, points: Sequence[tuple[float, float]], x_label: str, y_label: str
) -> Markup:
    """One value against another."""
    across = linear([x for x, _ in points], zero=False)
    up = linear([y for _, y in points], zero=False)
    dots = "".join(
        f'<circle class="s1" cx="{100 * across.at(x):.2f}%" '
        f'cy="{HEIGHT * (1 - up.at(y)):.1f}" r="3">'
        f"<title>{number(x)}, {number(y)}</title></circle>"
        for x, y in points
    )
    names = f'<text class="name" x="100%" y="{HEIGHT - 6}">{escape(x_label)}</text>'
    return figure(
        title,
        _frame(across, up) + names + dots,
        [Series(y_label, [y for _, y in points])],
        [number(x) for x, _ in points],
        head=x_label,
    )


def sparkline(label: str, values: Sequence[float | None], *, unit: str = "") -> Markup:
    """A line without axes, for a place beside text, which has the last value."""
    known = [value for value in values if value is not None]
    up = linear(known)
    x = [_WIDE * n / max(1, len(values) - 1) for n in range(len(values))]
    last = number(known[-1], unit) if known else "no values"
    text = f"{label}: {last} now, {number(max(known), unit)} at most" if known else f"{label}: none"
    inner = _lines(x, [list(values)], up, ["s1"], height=24)
    return _SPARK.format(text, Markup(inner))


def spark_bars(label: str, counts: Sequence[float]) -> Markup:
    """Bars without axes, for a place beside text."""
    highest, wide = max(counts, default=0) or 1, _WIDE / max(1, len(counts))
    bars = "".join(
        f'<rect class="s1" x="{wide * n:.1f}" y="{24 - 24 * count / highest:.1f}" '
        f'width="{wide * 0.85:.1f}" height="{24 * count / highest:.1f}"/>'
        for n, count in enumerate(counts)
    )
    text = f"{label}: {len(counts)} bars, the highest is {number(highest)}"
    return _SPARK.format(text, Markup(bars))


def _plain(low: float, high: float, unit: str = "") -> Scale:
    """A scale that begins and ends at these values, with the nice ticks between them."""
    ticks = linear([low, high], unit, zero=False).ticks
    high = high if high > low else low + 1
    return Scale(low, high, tuple(tick for tick in ticks if low <= tick[0] <= high))


def _stacked(series: Sequence[Series]) -> list[list[float | None]]:
    """The upper edge of each area."""
    below = [0.0] * len(series[0].values) if series else []
    tops: list[list[float | None]] = []
    for each in series:
        below = [low + (value or 0.0) for low, value in zip(below, each.values, strict=True)]
        tops.append(list(below))
    return tops


def _lines(
    x: Sequence[float],
    all_values: Sequence[Sequence[float | None]],
    up: Scale,
    kinds: Sequence[str],
    height: int = HEIGHT,
) -> str:
    paths = []
    for values, each in zip(all_values, kinds, strict=True):
        path, dots, drawing = [], [], False
        for n, value in enumerate(values):
            if value is None:
                drawing = False
                continue
            at = f"{x[n]:.1f} {height * (1 - up.at(value)):.1f}"
            if not drawing and (n + 1 == len(values) or values[n + 1] is None):
                dots.append(f"M{at}h.1")  # a point alone has no line
                continue
            path.append(f"{'L' if drawing else 'M'}{at}")
            drawing = True
        paths.append(f'<path class="line {each}" d="{"".join(path)}"/>')
        if dots:
            paths.append(f'<path class="line dot {each}" d="{"".join(dots)}"/>')
    return "".join(paths)


def _areas(
    x: Sequence[float],
    tops: Sequence[Sequence[float | None]],
    up: Scale,
    kinds: Sequence[str],
) -> str:
    paths, below = [], [float(HEIGHT)] * len(x)
    for values, each in zip(tops, kinds, strict=True):
        edge = [HEIGHT * (1 - up.at(value or 0.0)) for value in values]
        forth = [f"{across:.1f} {y:.1f}" for across, y in zip(x, edge, strict=True)]
        back = [f"{across:.1f} {y:.1f}" for across, y in zip(x, below, strict=True)]
        if forth:
            d = "M" + "L".join([*forth, *reversed(back)]) + "Z"
            paths.append(f'<path class="area {each}" d="{d}"/>')
        below = edge
    return "".join(paths)


def _stretched(inner: str) -> str:
    box = f'width="100%" height="{HEIGHT}" viewBox="0 0 {_WIDE} {HEIGHT}"'
    return f'<svg {box} preserveAspectRatio="none">{inner}</svg>'


def _frame(across: Scale, up: Scale, *, time: bool = False) -> str:
    """The ticks of both axes and the lines of the grid."""
    parts, below = [], HEIGHT + 18
    for value, text in up.ticks:
        y = HEIGHT * (1 - up.at(value))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="up" x="-8" y="{y + 4:.1f}">{escape(text)}</text>')
    for value, text in across.ticks:
        moment = f' data-time="{value:.0f}"' if time else ""
        x = 100 * across.at(value)
        end = " last" if x > 97 else ""  # so that it is not cut off
        parts.append(
            f'<text class="across{end}" x="{x:.2f}%" y="{below}"{moment}>{escape(text)}</text>'
        )
    return "".join(parts)


def _marks(marks: Iterable[AxisMark], across: Scale) -> str:
    parts = []
    for mark in marks:
        if across.low <= mark.at <= across.high:
            x = f"{100 * across.at(mark.at):.2f}%"
            parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"/>')
            parts.append(f'<text class="mark" x="{x}" y="-3">{escape(mark.label)}</text>')
    return "".join(parts)
