"""Charts: ticks and units, what a picture shows, the same numbers as text, nothing of a user's as
markup."""

import html
import json
import re

import pytest

from gateway.web import charts
from gateway.web.chart_figure import AxisMark, Series
from gateway.web.chart_scales import linear, logarithmic, number, times

HOSTILE = """"'><script>alert(1)</script>{x}"""
MINUTE = 60_000


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "ms", "0 ms"),
        (3.14159, "ms", "3.14 ms"),
        (1500, "ms", "1.5 s"),
        (90_000, "ms", "1.5 min"),
        (2**30 * 1.5, "B", "1.5 GiB"),
        (512, "B", "512 B"),
        (12_345, "", "12.3k"),
        (12_345, "/s", "12.3k/s"),
        (5, "%", "5 %"),
        (0.00001, "", "1.00e-5"),
        (-2.5, "", "-2.5"),
        (1e300, "", "1.00e300"),
        (float("inf"), "", "inf"),
    ],
)
def test_numbers_have_few_digits_and_their_unit(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("values", "unit", "ticks"),
    [
        ([1, 7], "", ["0", "2", "4", "6", "8"]),
        ([0, 2**30], "B", ["0 B", "512 MiB", "1 GiB"]),
        ([-3, 3], "", ["-4", "-2", "0", "2", "4"]),
        ([0, 900], "ms", ["0 ms", "500 ms", "1 s"]),
        ([], "", ["0", "0.5", "1"]),
        ([1e308, -1e308], "", ["0", "0.5", "1"]),
    ],
)
def test_ticks_are_at_nice_values(values: list[float], unit: str, ticks: list[str]) -> None:
    """A scale covers its values, with few ticks at multiples of 1, 2 or 5 of the shown unit."""
    shown = [text for _, text in linear(values, unit).ticks]
    assert len(shown) <= 7
    assert [each for each in ticks if each not in shown] == []


def test_logarithmic_scale_has_powers_of_ten() -> None:
    scale = logarithmic([0, 3, 420], "ms")
    assert [text for _, text in scale.ticks] == ["1 ms", "10 ms", "100 ms", "1 s"]
    assert scale.at(10) == pytest.approx(1 / 3)
    assert scale.at(0) == 0


def test_time_axis_has_ticks_at_whole_minutes() -> None:
    ticks = times(61_000, 15 * MINUTE).ticks
    assert [text for _, text in ticks] == ["00:05", "00:10", "00:15"]


def data_of(figure: str) -> dict[str, list[object]]:
    found = re.search(r'data-chart="(.*?)"', figure)
    assert found
    return dict(json.loads(html.unescape(found[1])))


def test_line_chart_has_lines_gaps_marks_and_a_table() -> None:
    """A gap breaks a line; the numbers are in a table and for the script."""
    x = [MINUTE * n for n in range(5)]
    chart = charts.line_chart(
        "Latency",
        x,
        [Series("p50", [1, 2, None, 4, 5]), Series("p99", [9, 9, 9, 9, 9], "bad")],
        unit="ms",
        time=True,
        marks=[AxisMark(2 * MINUTE, "build 7"), AxisMark(99 * MINUTE, "outside")],
        zoom=True,
    )
    [line] = re.findall('<path class="line s1" d="(.*?)"', chart)
    assert line.count("M") == 2
    assert '<path class="line bad"' in chart
    assert 'x="50.00%" y="-3">build 7<' in chart
    assert ">outside<" not in chart
    assert '<th scope="row" data-time="60000">1970-01-01 00:01:00</th>' in chart
    assert chart.count('<td class="number">9 ms</td>') == 5
    assert data_of(chart) == {
        "at": [0, 250, 500, 750, 1000],
        "heads": x,
        "time": True,
        "zoom": [0, 4 * MINUTE],
        "series": [
            ["p50", "s1", ["1 ms", "2 ms", "-", "4 ms", "5 ms"]],
            ["p99", "bad", ["9 ms"] * 5],
        ],
    }


def test_value_alone_is_a_dot() -> None:
    """A value between two gaps can be seen: a line of one point would be a speck."""
    chart = charts.line_chart("x", [0, 1, 2, 3, 4], [Series("a", [1, None, 2, 3, None])])
    line, dot = re.findall(r'<path class="(line[ \w]*)" d="([^"]*)"', chart)
    assert (line[0], dot[0]) == ("line s1", "line dot s1")
    assert (line[1].count("M"), line[1].count("L"), dot[1].count("M")) == (1, 1, 1)


def test_picture_is_described() -> None:
    """A reader who does not see the picture is told its name and what is in it."""
    chart = charts.line_chart("Load", [1, 2], [Series("cpu", [5, 7])], unit="%")
    named = re.search(r'role="img" aria-labelledby="([\w-]+)" aria-describedby="([\w-]+)"', chart)
    assert named
    assert f'<span id="{named[1]}">Load</span>' in chart
    assert f'<desc id="{named[2]}">cpu: 2 values from 5 % to 7 %, the last is 7 %.' in chart


def test_areas_are_stacked() -> None:
    """The second area begins where the first ends."""
    chart = charts.line_chart(
        "Requests", [0, 1], [Series("a", [1, 1]), Series("b", [3, 3])], stacked=True
    )
    first, second = re.findall('class="area s[12]" d="(.*?)"', chart)
    assert first == "M0.0 135.0L1000.0 135.0L1000.0 180.0L0.0 180.0Z"
    assert second == "M0.0 0.0L1000.0 0.0L1000.0 135.0L0.0 135.0Z"


def test_distribution_counts_each_value_once() -> None:
    edges, counts = charts.binned([[1.0, 2.0, 3.0, float("nan")], [3.0, 3.0]])
    assert [sum(each) for each in counts] == [3, 2]
    assert (edges[0], edges[-1]) == (1, 3)
    chart = charts.histogram("d", edges, [Series("a", counts[0]), Series("b", counts[1])])
    assert chart.count("<rect") == 2 * (len(edges) - 1)


@pytest.mark.parametrize(
    "values", [[], [None], [0.0], [float("inf")], [float("nan"), 1.0], [1e308]]
)
def test_odd_values_are_drawn(values: list[float | None]) -> None:
    """No values, one, or values without end make a chart, not an error."""
    x = [float(n) for n in range(len(values))]
    series = [Series("a", values)]
    drawn = [
        charts.line_chart("x", x, series),
        charts.line_chart("x", x, series, log=True),
        charts.line_chart("x", x, series, stacked=True),
        charts.line_chart("x", x, series, time=True),
        charts.line_chart("x", x, series, zero=False),
    ]
    assert not any(re.search(r' d="[^"]*nan', each) for each in drawn)
    charts.sparkline("x", values)
    known = [value for value in values if value is not None]
    charts.binned([known])
    charts.scatter("x", list(enumerate(known)), "a", "b")


def test_texts_of_users_stay_text() -> None:
    """A label of a user becomes no markup, in any part of any chart, and nothing is inline."""
    one = Series(HOSTILE, [1.0, 2.0])
    drawn = [
        charts.line_chart(HOSTILE, [1, 2], [one, one], marks=[AxisMark(1, HOSTILE)]),
        charts.histogram(HOSTILE, [1, 2, 3], [one, one]),
        charts.scatter(HOSTILE, [(1, 2)], HOSTILE, HOSTILE),
        charts.sparkline(HOSTILE, [1]),
    ]
    for each in drawn:
        assert "<script" not in each
        assert "'>" not in each
        assert not re.search(r"\sstyle=|\son\w+=", each)
