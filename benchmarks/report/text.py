"""A report for a terminal: caveats and machine first, the command that repeats the run last."""

import textwrap
from collections.abc import Iterator

from benchmarks.report.record import Goal, Report, Row, Section, Table, headed, shown

_WIDTH = 100


def text(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield "Before you read a number:"
    for caveat in report.caveats:
        yield from textwrap.wrap(caveat, _WIDTH, initial_indent="- ", subsequent_indent="  ")
    yield ""
    width = max(map(len, report.machine))
    for name, value in report.machine.items():
        yield f"{name:<{width}}  {value}"
    for section in report.sections:
        yield ""
        yield from _section(section)
    yield ""
    yield f"Took {report.seconds:.0f} s. Again: {report.command}"


def _section(section: Section) -> Iterator[str]:
    yield f"== {section.verb}: {section.title}"
    yield from textwrap.wrap(section.says, _WIDTH)
    if section.failure:
        yield f"FAILED: {section.failure}"
    for table in section.tables:
        yield ""
        yield from _table(table)
    if section.goals:
        yield ""
        yield from _table(Table("Goals", [goal_row(goal) for goal in section.goals]))


def goal_row(goal: Goal) -> Row:
    unit = f" {goal.unit}" if goal.unit else ""
    return {
        "": goal.verdict,
        "goal": goal.what,
        "wanted": f"{goal.sense} {shown(goal.bound)}{unit}",
        "found": f"{shown(goal.found)}{unit}" if goal.found is not None else goal.why_not,
    }


def columns(table: Table) -> list[str]:
    """The columns of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(column for row in table.rows for column in row))


def _table(table: Table) -> Iterator[str]:
    yield table.title
    yield from textwrap.wrap(table.says, _WIDTH)
    names = columns(table)
    cells = [[headed(name) for name in names]]
    cells += [[shown(row.get(name)) for name in names] for row in table.rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    numeric = [not any(isinstance(row.get(name), str) for row in table.rows) for name in names]
    for line in cells:
        yield "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
