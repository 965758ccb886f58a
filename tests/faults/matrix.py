"""The matrix of faults: what is injected, what is promised, what was observed, whether it held.

A fault is one test function with its row declared beside it by `fault`; what it saw it says by the
fixture `observe`. The test may be in any folder. So a row cannot be without a test, nor describe
another one.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import NamedTuple, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])


class Fault(NamedTuple):
    """What is done to predictd, and what is promised then."""

    name: str
    injection: str
    bound: str


class Row(NamedTuple):
    """A line of the matrix: one test function, or all its cases together."""

    fault: Fault
    test: str
    observed: str
    held: str


def fault(name: str, *, injection: str, bound: str) -> Callable[[Test], Test]:
    """Declares that this test injects that fault."""

    def declare(test: Test) -> Test:
        marked: Test = pytest.mark.fault(Fault(name, injection, bound))(test)
        return marked

    return declare


def of_item(item: pytest.Item) -> Fault | None:
    """The fault that a collected test injects, if it is one of the matrix."""
    marker = item.get_closest_marker("fault")
    return marker.args[0] if marker else None


def function_of(nodeid: str) -> str:
    """A test without its case: `path::name[case]` is `path::name`."""
    return nodeid.partition("[")[0]


class Recorder:
    """A plugin of pytest's: takes down what became of every fault, in the order of the tests."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._outcomes: dict[str, list[str]] = {}
        self._observed: dict[str, list[str]] = {}
        self._seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keeps the faults; other tests of the same files are not run."""
        kept = []
        for item in items:
            if found := of_item(item):
                self._faults[function_of(item.nodeid)] = found
                kept.append(item)
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = function_of(report.nodeid)
        self._seconds[test] = self._seconds.get(test, 0.0) + report.duration
        observed = self._observed.setdefault(test, [])
        if report.when == "call":
            observed += [str(text) for name, text in report.user_properties if name == "observed"]
        if report.when == "call" or not report.passed:
            self._outcomes.setdefault(test, []).append(report.outcome)
            observed += _why(report)

    def rows(self) -> Iterator[Row]:
        for test, found in self._faults.items():
            outcomes = self._outcomes.get(test, [])
            if not outcomes:
                continue  # deselected: the long ones, where they were not asked for
            passed = outcomes.count("passed")
            observed = "; ".join(dict.fromkeys(self._observed[test]))
            cases = f"{passed} of {len(outcomes)} cases as promised" if len(outcomes) > 1 else ""
            said = "; ".join(filter(None, (cases, observed))) or "as promised"
            yield Row(found, test, f"{said} ({self._seconds[test]:.1f} s)", held(outcomes))


def _why(report: pytest.TestReport) -> list[str]:
    """The reason of a skip or a failure, in a line."""
    if report.passed:
        return []
    if isinstance(report.longrepr, tuple):
        return [str(report.longrepr[2])]
    text = report.longreprtext
    errors = [line[2:].strip() for line in text.splitlines() if line.startswith("E ")]
    return [(errors or [text.strip().rpartition("\n")[2]])[0]]


def held(outcomes: Iterable[str]) -> str:
    """One word for all cases of a fault."""
    found = set(outcomes)
    if "failed" in found:
        return "no"
    return "not tried" if found == {"skipped"} else "yes"


def as_text(rows: Iterable[Row]) -> str:
    lines = []
    for row in rows:
        lines += [
            f"{row.held:9} {row.fault.name}",
            f"          injected: {row.fault.injection}",
            f"          promised: {row.fault.bound}",
            f"          observed: {row.observed}",
        ]
    return "\n".join(lines)


def as_json(rows: Iterable[Row]) -> str:
    return json.dumps(
        [
            {**row.fault._asdict(), "test": row.test, "observed": row.observed, "held": row.held}
            for row in rows
        ],
        indent=1,
        ensure_ascii=False,
    )


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
       color: #1c2530; background: #fff }
h1 { font-size: 1.5rem; margin-bottom: 0 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .45rem .7rem;
         border-bottom: 1px solid #dfe4ea }
th { position: sticky; top: 0; background: #f4f6f8 }
td:last-child { font-weight: 600; white-space: nowrap }
.yes { color: #116633 } .no { color: #b3261e } .not { color: #7a5a00 }
td[title] { cursor: help }
@media (prefers-color-scheme: dark) {
  body { color: #d7dde4; background: #14181d } th { background: #1e242b }
  th, td { border-color: #333b44 }
  .yes { color: #6fce8f } .no { color: #ff8a80 } .not { color: #e0bd62 } }
"""


def as_page(rows: Iterable[Row], about: str) -> str:
    """A page of its own, without scripts."""
    body = "\n".join(
        f'<tr><td title="{escape(row.test)}">{escape(row.fault.name)}</td>'
        f"<td>{escape(row.fault.injection)}</td><td>{escape(row.fault.bound)}</td>"
        f'<td>{escape(row.observed)}</td><td class="{row.held.split()[0]}">{row.held}</td></tr>'
        for row in rows
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>The faults of predictd</title><style>{STYLE}</style>"
        f"<h1>What happens when</h1><p>{escape(about)}</p>"
        "<table><thead><tr><th>Fault<th>Injected<th>Promised<th>Observed<th>Held</thead>"
        f"<tbody>\n{body}\n</tbody></table></html>\n"
    )
