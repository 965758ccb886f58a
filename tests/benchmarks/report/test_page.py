"""The page and the text: everything is in them, in order, and nothing is markup that was text."""

import re
from html.parser import HTMLParser

import pytest

from benchmarks.report.page import page
from benchmarks.report.record import Bars, Goal, Lines, Report, Section, Table
from benchmarks.report.svg import Scale
from benchmarks.report.text import text

NASTY = "<script>\"&'</script>"


def report(words: str) -> Report:
    section = Section(
        verb="predict",
        title=words,
        says=words,
        failure=words,
        tables=[Table(words, [{words: words, "p50_us": 12.5}, {"other": None}], words)],
        pictures=[
            Bars(title=words, unit=words, values={words: 1.0, "none": None}, ours=words),
            Bars(title="b", unit="s", values={"a": 1.0, "b": 900.0}, logarithmic=True),
            Lines(title=words, x=words, y=words, series={words: [(1, 2.0), (10, 30.0)]}),
            Lines(title="l", x="x", y="y", series={"a": [(1, 2.0), (10, 30.0)]}, logarithmic=True),
            Lines(title="empty", x="x", y="y", series={"a": []}),
        ],
        goals=[
            Goal(what=words, found=1.0, bound=2.0, unit=words),
            Goal(what="b", found=3.0, bound=2.0),
            Goal(what="c", found=None, bound=2.0, why_not=words),
        ],
    )
    return Report(
        caveats=[words], machine={words: words}, quick=True, sections=[section], command=words
    )


class Outline(HTMLParser):
    """Which elements there are, whether each that opens closes, and the text between them."""

    VOID = ("meta", "rect", "line", "circle", "polyline")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_what_a_report_says_is_text() -> None:
    """No word of it becomes markup, wherever it stands; every element that opens closes."""
    outline = Outline(page(report(NASTY)))
    assert outline.open == []
    assert "script" not in outline.seen
    assert "svg" in outline.seen
    assert any(NASTY in words for words in outline.words)


def test_the_page_needs_nothing_but_itself() -> None:
    """It names no address, and loads nothing."""
    html = page(report("words"))
    outline = Outline(html)
    assert not re.search(r"https?:|//|@import|url\(", html)
    assert not outline.seen & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert not {"src", "href"} & {name for name, _ in outline.attributes}


@pytest.mark.parametrize("show", [page, text])
def test_caveats_come_first_and_the_command_last(show: object) -> None:
    """Who reads from the top knows what to think of the numbers before they come."""
    made = report("words")
    made.caveats, made.command = ["a caveat"], "a command"
    made.machine = {"kernel": "a kernel"}
    said = page(made) if show is page else text(made)
    places = [said.index(w) for w in ("a caveat", "a kernel", "p50, µs", "a command")]
    assert places == sorted(places)


def test_the_text_has_every_number_and_goal() -> None:
    """What was measured, what was missed and what was not measured."""
    said = text(report("words"))
    for words in ("12.5", "met", "missed", "not measured", "FAILED: words", "<= 2"):
        assert words in said


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize(
    "values", [[1.0], [0.0], [], [3.0, 3.0], [0.002, 5.0], [7.0, 90000.0], [0.0, 4.0]]
)
def test_a_scale_keeps_its_bounds_and_order(values: list[float], logarithmic: bool) -> None:
    """Every value has its place, the larger never before the smaller; ticks are few."""
    scale = Scale(values, logarithmic, 10, 110, from_zero=True)
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(10 <= place <= 110 for place in places)
    assert len(scale.ticks()) <= 12
