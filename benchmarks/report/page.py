"""A report as one self-contained page: no script, font or picture from elsewhere.

Caveats and machine come first, then which goals were met, then each verb's pictures and tables,
and last the command that repeats the run. The page is readable in light, in dark and on paper. All
values of a report are text, never markup.
"""

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from benchmarks.report import svg
from benchmarks.report.record import Goal, Picture, Report, Section, Table, headed, shown
from benchmarks.report.text import columns

_STYLE = Path(__file__).with_name("page.css")


def page(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<title>predictd: benchmarks</title>"
    yield f"<style>\n{_STYLE.read_text()}</style>\n</head>\n<body>\n<main>"
    yield "<h1>predictd: benchmarks</h1>"
    yield "<h2>Before you read a number</h2>"
    yield "<ul>" + "".join(f"<li>{escape(caveat)}</li>" for caveat in report.caveats) + "</ul>"
    yield '<dl class="machine">'
    yield from (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in report.machine.items()
    )
    yield "</dl>"
    goals = [(section.verb, goal) for section in report.sections for goal in section.goals]
    if goals:
        yield from _goals(goals)
    for section in report.sections:
        yield from _section(section)
    yield "<h2>Again</h2>"
    yield f"<p>This took {report.seconds:.0f} s. To make it again:</p>"
    yield f"<pre>{escape(report.command)}</pre>\n</main>\n</body>\n</html>"


def _goals(goals: Iterable[tuple[str, Goal]]) -> Iterator[str]:
    goals = list(goals)
    met = sum(goal.verdict == "met" for _, goal in goals)
    missed = sum(goal.verdict == "missed" for _, goal in goals)
    yield "<h2>Goals</h2>"
    yield f"<p>{met} met, {missed} missed, {len(goals) - met - missed} not measured.</p>"
    yield '<div class="wide"><table class="goals"><thead><tr><th></th><th>goal</th>'
    yield '<th class="number">wanted</th><th class="number">found</th><th>verb</th></tr></thead>'
    yield "<tbody>"
    for verb, goal in goals:
        unit = f" {goal.unit}" if goal.unit else ""
        found = goal.why_not if goal.found is None else f"{shown(goal.found)}{unit}"
        sense = {"<=": "≤", ">=": "≥"}[goal.sense]
        yield (
            f'<tr><td><span class="verdict {goal.verdict.split()[0]}">{goal.verdict}</span></td>'
            f'<td>{escape(goal.what)}</td><td class="number">{sense} {shown(goal.bound)}'
            f'{escape(unit)}</td><td class="number">{escape(found)}</td>'
            f"<td>{escape(verb)}</td></tr>"
        )
    yield "</tbody></table></div>"


def _section(section: Section) -> Iterator[str]:
    yield f'<section>\n<h2><span class="verb">{escape(section.verb)}</span> '
    yield f"{escape(section.title)}</h2>"
    if section.failure:
        yield f'<p class="failure">This failed: {escape(section.failure)}</p>'
    if section.says:
        yield f"<p>{escape(section.says)}</p>"
    for picture in section.pictures:
        yield from _picture(picture)
    for table in section.tables:
        yield from _table(table)
    yield "</section>"


def _picture(picture: Picture) -> Iterator[str]:
    yield f"<figure><figcaption><b>{escape(picture.title)}</b> {escape(picture.says)}</figcaption>"
    yield f"{svg.svg(picture)}</figure>"


def _table(table: Table) -> Iterator[str]:
    yield f"<h3>{escape(table.title)}</h3>"
    if table.says:
        yield f"<p>{escape(table.says)}</p>"
    names = columns(table)
    words = {name for name in names if any(isinstance(row.get(name), str) for row in table.rows)}
    kinds = {name: "" if name in words else ' class="number"' for name in names}
    heads = "".join(f"<th{kinds[name]}>{escape(headed(name))}</th>" for name in names)
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>'
    for row in table.rows:
        cells = (f"<td{kinds[name]}>{escape(shown(row.get(name)))}</td>" for name in names)
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
