"""What the metrics of a model say together: distributions, drift, values over time, two beside
each other.

The store reads and sorts (`store/tables/metric_values.py`); what is left takes less than a
millisecond for a value, with a checkpoint after each. One question at a time is answered, fairly
between projects, so one reader of the database stays free for others.
"""

import math
from collections import defaultdict
from typing import Any

import msgspec
import trio

import store
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.metrics.value_summaries import FoundValues, ValueSummary, summary_of
from gateway.control.metrics.windows import Window
from store import Database, RecordExtent, RecordSelection

MOST_SPANS = 200
_read = msgspec.json.decode


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    records: RecordExtent
    reference: RecordExtent | None
    values: list[ValueSummary]
    not_shown: int


class NumbersOverTime(msgspec.Struct, frozen=True, kw_only=True):
    """One item for each span: a count, and null for a span without numbers."""

    name: str
    count: list[int]
    mean: list[float | None]
    min: list[float | None]
    max: list[float | None]


class LabelsOverTime(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    count: list[int]


class OverTime(msgspec.Struct, frozen=True, kw_only=True):
    """`times` are the starts of the spans, each `step_ms` long."""

    records: RecordExtent
    step_ms: float
    times: list[int]
    numbers: list[NumbersOverTime]
    labels: list[LabelsOverTime]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Two numbers beside each other; an error is `x - y`. `r2` is what share of the variance of `y`
    is explained by `x` itself."""

    count: int
    mean_error: float
    mean_absolute_error: float
    root_mean_square_error: float
    equal: int
    correlation: float | None
    r2: float | None


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """Two values beside each other, in the `both` records that have both. `cells` are [x, y, count]
    of labels; `points` are a sample."""

    records: RecordExtent
    both: int
    numbers: Agreement | None
    points: list[list[float]]
    cells: list[tuple[str, str, int]]
    equal_labels: int
    step_ms: float
    times: list[int]
    count: list[int]
    equal: list[int | None]
    mean_error: list[float | None]
    mean_absolute_error: list[float | None]


class MetricAnalysis:
    """Answers questions about the values of many metric records."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._semaphore = FairSemaphore(1, per_holder=1)

    async def summary(self, window: Window, reference: Window | None = None) -> Summary:
        """How the values of a window are distributed, beside those of a reference."""
        async with self._semaphore.acquire(window.subject.project_id):
            extent, found, names = await self._values(window)
            compared = await self._values(reference) if reference else None
        values = []
        others = compared[1] if compared else {}
        for name in [*found, *(name for name in others if name not in found)]:
            await trio.lowlevel.checkpoint()
            other = others.get(name, FoundValues()) if compared else None
            values.append(summary_of(name, found.get(name, FoundValues()), extent, other))
        return Summary(
            records=extent,
            reference=compared[0] if compared else None,
            values=values,
            not_shown=names - len(found),
        )

    async def over_time(self, window: Window, spans: int, name: str = "") -> OverTime:
        """The numbers of a window over time, with a `name` those and the labels of this one."""
        labels: list[tuple[str, str]] = []
        async with self._semaphore.acquire(window.subject.project_id):
            selection, extent = await self._selected(window)
            numbers = []
            if extent.read:
                numbers = await self._database.read(
                    store.metric_values.over_time, selection, spans, name
                )
            if extent.read and name:
                labels = await self._database.read(
                    store.metric_values.labels_over_time, selection, spans, name
                )
        over = []
        for each, content in numbers:
            await trio.lowlevel.checkpoint()
            count, mean, low, high = _columns(content, spans, 4)
            over.append(
                NumbersOverTime(name=each, count=_whole(count), mean=mean, min=low, max=high)
            )
        step, times = _times(selection, spans)
        return OverTime(
            records=extent,
            step_ms=step,
            times=times,
            numbers=over,
            labels=[
                LabelsOverTime(label=label, count=_whole(*_columns(content, spans, 1)))
                for label, content in labels
            ],
        )

    async def pairs(self, window: Window, spans: int, x: str, y: str) -> Pairs:
        """Two values of the predictions of a window beside each other."""
        async with self._semaphore.acquire(window.subject.project_id):
            selection, extent = await self._selected(window)
            found = {"both": "0"}
            if extent.read:
                found = await self._database.read(store.metric_values.pairs, selection, spans, x, y)
        numbers = _agreement(_read(found.get("sums", "[0]")))
        if numbers is not None:
            count, error, size, equal = _columns(found["spans"], spans, 4)
        else:
            count, equal = _columns(found.get("label_spans", "[]"), spans, 2)
            error = size = [None] * spans
        step, times = _times(selection, spans)
        cells = _read(found.get("cells", "[]"), type=list[tuple[str, str, int]])
        return Pairs(
            records=extent,
            both=int(found["both"]),
            numbers=numbers,
            points=_read(found.get("points", "[]")),
            cells=cells,
            equal_labels=0 if numbers else sum(_whole(equal)),
            step_ms=step,
            times=times,
            count=_whole(count),
            equal=[None if value is None else int(value) for value in equal],
            mean_error=error,
            mean_absolute_error=size,
        )

    async def _values(self, window: Window) -> tuple[RecordExtent, dict[str, FoundValues], int]:
        """The values of a window by name, those first that most records have."""
        selection, extent = await self._selected(window)
        if not extent.read:
            return extent, {}, 0
        rows, names = await self._database.read(store.metric_values.values, selection)
        found: dict[str, FoundValues] = defaultdict(FoundValues)
        for row in rows:
            await trio.lowlevel.checkpoint()
            found[row.name].take(row)
        ordered = sorted(found.items(), key=lambda item: (-item[1].count, item[0]))
        return extent, dict(ordered), names

    async def _selected(self, window: Window) -> tuple[RecordSelection, RecordExtent]:
        """What is read of a window, which is cut to where its records are."""
        selection, extent = await self._database.read(
            store.metric_values.sampled,
            RecordSelection(
                series=[each.number for each in window.subject.sources],
                start_ms=window.start_ms,
                end_ms=window.end_ms,
            ),
        )
        start = max(selection.start_ms, extent.first_ms)
        end = min(selection.end_ms, max(start, extent.last_ms))
        return msgspec.structs.replace(selection, start_ms=start, end_ms=end), extent


def _agreement(sums: list[Any]) -> Agreement | None:
    if not sums[0]:
        return None
    count, error, size, square, equal, var_x, var_y, covariance = sums
    spread = math.sqrt(var_x) * math.sqrt(var_y)
    return Agreement(
        count=count,
        mean_error=error,
        mean_absolute_error=size,
        root_mean_square_error=math.sqrt(square),
        equal=equal,
        correlation=max(-1.0, min(1.0, covariance / spread)) if spread else None,
        r2=1 - square * count / var_y if var_y else None,
    )


def _columns(content: str, spans: int, width: int) -> list[list[float | None]]:
    """The columns of rows [span, ...]: one item for each span, None where there is no row."""
    columns: list[list[float | None]] = [[None] * spans for _ in range(width)]
    for span, *values in _read(content):
        for column, value in zip(columns, values, strict=True):
            column[span] = value
    return columns


def _whole(column: list[float | None]) -> list[int]:
    return [int(value or 0) for value in column]


def _times(selection: RecordSelection, spans: int) -> tuple[float, list[int]]:
    step = (selection.end_ms - selection.start_ms + 1) / spans
    return step, [math.floor(selection.start_ms + n * step) for n in range(spans)]
