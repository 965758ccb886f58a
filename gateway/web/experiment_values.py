"""What pages of experiments show of what the API returns, and what they ask of it. Pure."""

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from gateway.errors import Refusal
from gateway.web.chart_figure import Series
from gateway.web.chart_scales import number
from gateway.web.charts import line_chart

# The profiles of a run: cores / GB.
PROFILES = (
    ("1/2", "1 vCPU / 2 GiB Memory"),
    ("2/4", "2 vCPU / 4 GiB Memory"),
    ("4/8", "4 vCPU / 8 GiB Memory"),
    ("", "The gateway's default"),
)
# How a file is shown, by the end of its name; others as text, if they are.
KINDS = {
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "bmp", "avif"), "image"),
    **dict.fromkeys(("csv", "tsv"), "table"),
}
# Metrics that are columns of the table or axes of a chart, and cells of a table of CSV.
_MOST_METRICS = 8
_MOST_ROWS, _MOST_CELLS = 200, 50
_LONGEST_TEXT = 200


def chosen_metrics(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that most of these runs have tracked."""
    counts: dict[str, int] = {}
    for run in runs:
        for key in run["metrics"]:
            counts[key] = counts.get(key, 0) + 1
    return sorted(sorted(counts, key=lambda key: (-counts[key], key))[:_MOST_METRICS])


def ranked(metrics: Mapping[str, Sequence[Any]]) -> list[str]:
    """The metrics of numbers, those first that most runs have."""
    known = {
        key: sum(value is not None for value in values)
        for key, values in metrics.items()
        if all(value is None or is_number(value) for value in values)
    }
    return sorted(sorted(known, key=lambda key: (-known[key], key))[:_MOST_METRICS])


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(value: Any) -> str:
    """A tracked value, short enough for a table."""
    if value is None:
        return ""
    text = number(value) if is_number(value) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def duration(run: Mapping[str, Any], now: Callable[[], datetime]) -> str:
    """How long a run has taken, or takes so far."""
    if not run["started_at"]:
        return ""
    ended = _moment(run["ended_at"]) if run["ended_at"] else now()
    seconds = max(0.0, (ended - _moment(run["started_at"])).total_seconds())
    return number(round(seconds, 1) if seconds < 10 else round(seconds), "s")


def kernels(runtimes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The runtimes to choose from. The first option leaves the choice to the script's ending."""
    ready = [each for each in runtimes if each["status"] == "ready"]
    return [
        ("", "By the script: R, or the project's runtime"),
        *(
            (
                each["runtime_identifier"],
                each["kernel"] if not each["version"] else f"{each['name']} ({each['kernel']})",
            )
            for each in ready
        ),
    ]


def preview(kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the preview of a file."""
    shown: dict[str, Any] = {"kind": kind, "text": "", "rows": [], "complete": True}
    if kind == "image":
        return shown
    if found["text"] is None:
        return shown | {"kind": "binary"}
    shown |= {"text": found["text"], "complete": found["complete"]}
    if kind == "table":
        rows = _rows(found["text"])
        if rows is None:
            return shown | {"kind": "text"}
        more = len(rows) > _MOST_ROWS
        return shown | {"rows": rows[:_MOST_ROWS], "complete": found["complete"] and not more}
    return shown


def _rows(text: str) -> list[list[str]] | None:
    """The rows of CSV; None if it is not CSV."""
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            rows.append(row[:_MOST_CELLS])
            if len(rows) > _MOST_ROWS:
                break
    except csv.Error:
        return None
    return rows


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def asked_run(given: Mapping[str, str]) -> dict[str, Any]:
    """The body of the API's request for what the form says."""
    try:
        arguments = shlex.split(given["arguments"])
    except ValueError as error:
        raise Refusal("argument.invalid", f"arguments: {error}".lower()) from None
    asked: dict[str, Any] = {
        "script": given["script"].strip(),
        "arguments": arguments,
        "runtime_identifier": given["kernel"],
        "comment": given["comment"],
    }
    cpu, _, memory = given["profile"].partition("/")
    if memory and given["profile"] in dict(PROFILES):
        asked |= {"cpu": float(cpu), "memory": float(memory)}
    if gpus := given["nvidia_gpus"].strip():
        if not (gpus.isascii() and gpus.isdigit() and len(gpus) < 5):
            raise Refusal("argument.invalid", f"nvidia_gpus: {gpus!r} is not a whole number")
        asked["nvidia_gpus"] = int(gpus)
    return asked


def over_time(
    key: str, labels: Sequence[str], series: Sequence[Sequence[tuple[float, float]]]
) -> Markup:
    """A metric of several runs over the seconds since the first value of each."""
    x = sorted({second for each in series for second, _ in each})
    x = x[:: -(-len(x) // 150) or 1]
    lines = []
    for label, points in zip(labels, series, strict=True):
        values: list[float | None] = []
        at, latest = 0, None
        for second in x:
            while at < len(points) and points[at][0] <= second:
                latest, at = points[at][1], at + 1
            ended = not points or second > points[-1][0]
            values.append(None if ended else latest)
        lines.append(Series(label, values))
    return line_chart(key, x, lines, zero=False)
