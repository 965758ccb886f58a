"""A chart with an axis for each value, and a line for each item that has these values. Pure."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from gateway.web.chart_figure import HEIGHT, Series, figure, kind
from gateway.web.chart_scales import number


def parallel_chart(title: str, axes: Sequence[str], items: Sequence[Series]) -> Markup:
    """Each item has one value for each axis. An axis has the range of its values."""
    count = max(1, len(axes) - 1)
    ranges, parts = [], []
    for place, axis in enumerate(axes):
        values = [v for each in items if (v := each.values[place]) is not None]
        low, high = min(values, default=0.0), max(values, default=1.0)
        ranges.append((low, high))
        x = f"{100 * place / count:.2f}%"
        anchor = " last" if place == count and place else " first" if place == 0 else ""
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"/>')
        for y, text in ((-5, number(high)), (HEIGHT + 15, number(low)), (HEIGHT + 31, axis)):
            parts.append(
                f'<text class="across{anchor}" x="{x}" y="{y}">{escape(_short(text))}</text>'
            )
    for number_of_item, item in enumerate(items):
        spots = [
            (1000 * place / count, _height(value, *ranges[place]))
            for place, value in enumerate(item.values)
            if value is not None
        ]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        if path:
            parts.append(
                _stretched(f'<path class="line {kind(number_of_item, item)}" d="M{path}"/>')
            )
    return figure(
        title,
        "".join(parts),
        items,
        list(axes),
        at=[1000 * place / count for place in range(len(axes))],
        head="Metric",
    )


def _height(value: float, low: float, high: float) -> float:
    return HEIGHT * (1 - (value - low) / (high - low)) if high > low else HEIGHT / 2


def _short(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:17]}…"


def _stretched(inner: str) -> str:
    box = f'width="100%" height="{HEIGHT}" viewBox="0 0 1000 {HEIGHT}"'
    return f'<svg {box} preserveAspectRatio="none">{inner}</svg>'
