"""The charts of tracked values, from what the API returns. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from gateway.web.chart_figure import Series
from gateway.web.chart_scales import number
from gateway.web.charts import histogram, line_chart, scatter, spark_bars, sparkline

Json = Mapping[str, Any]
# More points than a chart of points may have.
_MOST_POINTS = 200
_RESULTS = ("predict", "result", "score", "output", "response", "risk")
_TRUTHS = ("actual", "truth", "label", "target", "observed")


def row_charts(value: Json, over_time: Json | None) -> tuple[Markup, Markup]:
    """The small charts of a value in its row: over time, and its distribution."""
    name = value["name"]
    line = sparkline(f"{name} over time", over_time["mean"]) if over_time else Markup("")
    if value["histogram"]:
        return line, spark_bars(f"Distribution of {name}", value["histogram"]["counts"])
    return line, Markup("")


def labels_text(value: Json, most: int = 3) -> str:
    """The most frequent labels with their shares."""
    total = sum(each["count"] for each in value["labels"]) or 1
    named = [
        f"{each['label']} {number(round(100 * each['count'] / total))} %"
        for each in value["labels"][:most]
        if each["count"]
    ]
    more = value["distinct_labels"] - len(named)
    return ", ".join(named) + (f", {more} more" if more > 0 and named else "")


def value_charts(value: Json, over_time: Json) -> list[Markup]:
    """A value over time, and how it is distributed, beside the reference."""
    name, found = value["name"], []
    x, window = _axis(over_time)
    for each in over_time["numbers"]:
        lines = [
            Series("mean", each["mean"]),
            Series("least", each["min"], "quiet"),
            Series("largest", each["max"], "quiet"),
        ]
        found.append(
            line_chart(
                f"{name} over time", x, lines, time=True, zero=False, window=window, zoom=True
            )
        )
    if over_time["labels"]:
        counts = [Series(each["label"], each["count"]) for each in over_time["labels"]]
        found.append(
            line_chart(
                f"Labels of {name} over time",
                x,
                counts,
                time=True,
                stacked=True,
                window=window,
                zoom=True,
            )
        )
    if value["histogram"]:
        found.append(_distribution(name, value["histogram"]))
    return found


def _distribution(name: str, bins: Json) -> Markup:
    """Counts, or beside a reference shares, since it may have another number of values."""
    counts, reference = bins["counts"], bins["reference_counts"]
    if reference is None:
        return histogram(f"Distribution of {name}", bins["edges"], [Series("values", counts)])
    series = [Series("window", _shares(counts)), Series("reference", _shares(reference))]
    return histogram(f"Distribution of {name}, in % of the values", bins["edges"], series)


def _shares(counts: Sequence[int]) -> list[float | None]:
    total = sum(counts) or 1
    return [100 * count / total for count in counts]


def pair_charts(pairs: Json, x: str, y: str) -> list[Markup]:
    """One value against another, and how far they are apart over time."""
    found = []
    if pairs["points"]:
        points = [(float(a), float(b)) for a, b in pairs["points"][:_MOST_POINTS]]
        found.append(scatter(f"{y} against {x}", points, x, y))
    times, window = _axis(pairs)
    if pairs["numbers"]:
        errors = [
            Series("mean absolute error", pairs["mean_absolute_error"]),
            Series("mean error", pairs["mean_error"]),
        ]
        title = f"Error over time: {x} - {y}"
        found.append(line_chart(title, times, errors, time=True, window=window, zoom=True))
    elif pairs["both"]:
        shares = [
            100 * equal / count if count and equal is not None else None
            for equal, count in zip(pairs["equal"], pairs["count"], strict=True)
        ]
        lines = [Series("equal", shares)]
        found.append(
            line_chart(
                "Equal over time", times, lines, unit="%", time=True, window=window, zoom=True
            )
        )
    return found


def aggregate_charts(rows: Sequence[Json], most: int = 8) -> list[Markup]:
    """The numbers of aggregates, ascending by their end, each at the end of its window."""
    ordered = sorted(rows, key=lambda row: row["endTimeStampMs"])
    flat = [(row["endTimeStampMs"], flattened(row["metrics"])) for row in ordered]
    names = {n: None for _, values in flat for n, value in values.items() if _is_number(value)}
    charts = []
    for name in list(names)[:most]:
        at = [(end, values[name]) for end, values in flat if _is_number(values.get(name))]
        thin = -(-len(at) // _MOST_POINTS)
        lines = [Series(name, [value for _, value in at[::thin]])]
        x = [float(end) for end, _ in at[::thin]]
        charts.append(line_chart(name, x, lines, time=True, zero=False))
    return charts


def crosstab(cells: Sequence[tuple[str, str, int]], most: int = 10) -> dict[str, Any]:
    """A table of the most frequent labels: rows of x, columns of y."""
    counts = {(one, other): n for one, other, n in cells}
    sums: dict[str, int] = {}
    for one, other, n in cells:
        sums[one] = sums.get(one, 0) + n
        sums[other] = sums.get(other, 0) + n
    labels = sorted(sorted(sums, key=lambda label: (-sums[label], label))[:most])
    rows = [(one, [counts.get((one, other), 0) for other in labels]) for one in labels]
    return {"labels": labels, "rows": rows, "more": len(sums) - len(labels)}


def guessed_pair(values: Sequence[Json]) -> tuple[str, str]:
    """The values that are likely a prediction and its truth, by their names; else the first two."""
    names = [each["name"] for each in values if each["numbers"] or each["labels"]]
    truth = next((name for name in names if _has(name, _TRUTHS)), "")
    result = next((name for name in names if name != truth and _has(name, _RESULTS)), "")
    rest = [name for name in names if name not in (truth, result)]
    if not truth:
        truth = rest.pop(0) if rest else ""
    return result or (rest[0] if rest else ""), truth


def first_shown(values: Sequence[Json]) -> str:
    """The value whose charts a page shows first: a result rather than an input."""
    numbers = [each["name"] for each in values if each["numbers"]] or [v["name"] for v in values]
    plain = [name for name in numbers if "." not in name]
    likely = [name for name in plain if _has(name, _RESULTS)]
    return next(iter([*likely, *plain, *numbers]), "")


def flattened(metrics: Json, before: str = "", depth: int = 3) -> dict[str, Any]:
    """The values of a record by name, as the API names them."""
    found: dict[str, Any] = {}
    for key, value in metrics.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and depth > 1:
            found |= flattened(value, f"{name}.", depth - 1)
        else:
            found[name] = value
    return found


def cell(value: object) -> str:
    """A tracked value, short enough for a table."""
    if value is None:
        return ""
    if _is_number(value):
        return number(float(value))  # type: ignore[arg-type]
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else str(value)
    return f"{text[:59]}…" if len(text) > 60 else text


def _axis(found: Json) -> tuple[list[float], tuple[float, float] | None]:
    """The middle of each span, and what the time axis shows."""
    times, step = found["times"], found["step_ms"]
    if not times:
        return [], None
    return [at + step / 2 for at in times], (times[0], times[-1] + max(step, 1))


def _has(name: str, words: Sequence[str]) -> bool:
    return any(word in name.lower() for word in words)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
