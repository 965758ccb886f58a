"""The figure of a chart: title, legend, picture, the values under the pointer, the table. Pure."""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from markupsafe import Markup, escape

from gateway.web.chart_scales import exact_time, number

HEIGHT = 180
# Rows of the table of numbers: more are thinned out evenly.
_MOST_ROWS = 60
_COLOURS = 6
_FIGURE = Markup(
    '<figure class="chart" data-chart="{data}"><figcaption><span id="{id}">{title}</span>{legend}'
    '</figcaption><div class="plot"><svg role="img" aria-labelledby="{id}" '
    'aria-describedby="{id}-about" height="{tall}"><desc id="{id}-about">{about}</desc>{picture}'
    '</svg></div><details><summary>Numbers</summary><div class="scroll" tabindex="0" role="region" '
    'aria-label="Numbers of {title}"><table><thead><tr><th scope="col">{head}</th>{heads}</tr>'
    "</thead><tbody>{rows}</tbody></table></div>{note}</details></figure>"
)


class Series(NamedTuple):
    """A line, an area, or the bars of one colour. None is a gap. Without a `tone` (good, busy,
    warn, bad, quiet) the series has the next colour."""

    label: str
    values: Sequence[float | None]
    tone: str = ""


class AxisMark(NamedTuple):
    """A vertical line at a value of the axis, such as a deployment."""

    at: float
    label: str


def kind(place: int, series: Series) -> str:
    """The class of a series, which gives its colour."""
    return series.tone or f"s{place % _COLOURS + 1}"


def figure(
    title: str,
    picture: str,
    series: Sequence[Series],
    heads: Sequence[float | str],
    *,
    at: Sequence[float] = (),
    head: str = "",
    unit: str = "",
    time: bool = False,
    zoom: tuple[float, float] | None = None,
    marks: Sequence[AxisMark] = (),
) -> Markup:
    """`heads` says what each value belongs to: a text, or with `time` milliseconds of Unix time;
    `at` is where it is, in thousandths of the width. `picture` is SVG; `unit` is no user's text."""
    texts = [["-" if v is None else number(v, unit) for v in each.values] for each in series]
    data = {
        "at": [round(each) for each in at],
        "heads": [
            round(each) if time and isinstance(each, float | int) else each for each in heads
        ],
        "time": time,
        "zoom": [round(each) for each in zoom] if zoom else None,
        "series": [[each.label, kind(n, each), texts[n]] for n, each in enumerate(series) if at],
    }
    columns = [[f'<td class="number">{text}</td>' for text in each] for each in texts]
    every = -(-len(heads) // _MOST_ROWS) or 1
    rows = "".join(
        f"<tr>{_head(heads[n], time)}{''.join([cells[n] for cells in columns])}</tr>"
        for n in range(0, len(heads), every)
    )
    named = blake2b(title.encode(), digest_size=6).hexdigest()
    return _FIGURE.format(
        data=json.dumps(data, separators=(",", ":")),
        id=f"chart-{named}",
        title=title,
        tall=HEIGHT,
        about=_about(series, texts, marks),
        legend=_legend(series) if len(series) > 1 else "",
        picture=Markup(picture),
        head=head or ("Time" if time else "At"),
        heads=Markup("").join(
            Markup('<th scope="col" class="number">{}</th>').format(each.label) for each in series
        ),
        rows=Markup(rows),
        note=Markup('<p class="hint">Every {}th value.</p>').format(every) if every > 1 else "",
    )


def _head(value: float | str, time: bool) -> str:
    if not time or isinstance(value, str):
        text = escape(value) if isinstance(value, str) else number(value)
        return f'<th scope="row">{text}</th>'
    return f'<th scope="row" data-time="{value:.0f}">{exact_time(value)}</th>'


def _legend(series: Sequence[Series]) -> Markup:
    items = [
        Markup('<li class="{}">{}</li>').format(kind(n, each), each.label)
        for n, each in enumerate(series)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _about(
    series: Sequence[Series], texts: Sequence[Sequence[str]], marks: Sequence[AxisMark]
) -> str:
    """The picture in words."""
    parts = []
    for each, shown in zip(series, texts, strict=True):
        known = [(v, text) for v, text in zip(each.values, shown, strict=True) if v is not None]
        if not known:
            parts.append(f"{each.label}: no values.")
            continue
        parts.append(
            f"{each.label}: {len(known)} values from {min(known)[1]} to {max(known)[1]}, "
            f"the last is {known[-1][1]}."
        )
    if marks:
        parts.append(f"Marked: {', '.join(each.label for each in marks)}.")
    return " ".join(parts)
