"""Metrics on their way out: as the SDK's rows, and as tables that other programs read.

JSON Lines has a row in each line. In CSV and Parquet each key at the top of any row's metrics is a
column `metrics.<key>`; what has no form in a cell is JSON text. A text that a spreadsheet would
take for a formula has a `'` before it in CSV, as OWASP advises; numbers stay numbers.

The columns are only known when all rows have been read, so for these two the rows are read twice. A
key that first appears in between is left out. All of it is done in small turns, since predictions
are served beside it.

A table has so many columns at most: each row is as wide as all rows have keys together.
"""

import csv
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Literal

import msgspec
import trio

from gateway.control.records import MetricSeries, StoredMetricRecord
from gateway.crn import crn

FORMATS = {
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_FIXED = (
    "modelDeploymentCrn",
    "modelBuildCrn",
    "modelCrn",
    "startTimeStampMs",
    "endTimeStampMs",
    "predictionUuid",
)
MOST_COLUMNS = 1000
# What a row and a cell cost, in bytes of metrics that are read in the same time; and what is done
# in one turn: less than a millisecond.
_ROW, _CELL, _TURN = 1000, 40, 50_000
# Rows of a group of Parquet.
_GROUP = 10_000

# What begins a formula, also as the wide forms that some input methods give.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LINE_END = ";\t\r\n"

RowSource = Callable[[], AsyncGenerator[list[StoredMetricRecord]]]
Kind = Literal["null", "bool", "int", "float", "str", "json"]
_read_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode
_write = msgspec.json.encode


class NotInstalled(Exception):
    """What a format needs is not there."""

    advice = "pip install 'predictd[parquet]' where the gateway is installed"


class TooManyKeys(Exception):
    """A table would be too wide."""

    advice = "take format=jsonl, or a shorter window"


class RowFormatter:
    """Rows as the SDK has them, the names of what they are of in full."""

    def __init__(self, workspace: str, sources: Iterable[MetricSeries]) -> None:
        self._names = {
            source.number: tuple(
                crn(workspace, each) if each else ""
                for each in (source.deployment_id, source.build_id, source.model_id)
            )
            for source in sources
        }
        self._begin = {
            number: b'{"modelDeploymentCrn":%b,"modelBuildCrn":%b,"modelCrn":%b,'
            b'"startTimeStampMs":' % tuple(_write(name) for name in names)
            for number, names in self._names.items()
        }

    def json(self, row: StoredMetricRecord) -> bytes:
        """One row as JSON. Its metrics are what was told, to the letter."""
        return b'%b%d,"endTimeStampMs":%d,"predictionUuid":"%b","metrics":%b}' % (
            self._begin[row.series],
            row.start_ms,
            row.end_ms,
            row.uuid.encode(),
            row.metrics.encode(),
        )

    def fixed(self, row: StoredMetricRecord) -> tuple[object, ...]:
        """What every row has, in the order of its columns."""
        return *self._names[row.series], row.start_ms, row.end_ms, row.uuid


async def as_table(kind: str, again: RowSource, spelling: RowFormatter) -> AsyncIterator[bytes]:
    """The rows that `again` gives, each time it is called, as a file of this format, in parts.

    Raises NotInstalled, or TooManyKeys.
    """
    if kind == "jsonl":
        return _json_lines(again, spelling)
    if kind == "csv":
        return _csv(again, spelling, await _columns(again))
    try:
        arrow = await trio.to_thread.run_sync(_import_arrow)
    except ImportError as error:
        raise NotInstalled(f"format: parquet needs pyarrow: {error}") from None
    return _parquet(again, spelling, await _columns(again), *arrow)


async def _json_lines(again: RowSource, spelling: RowFormatter) -> AsyncIterator[bytes]:
    async for rows in _in_turns(again):
        yield b"".join([spelling.json(row) + b"\n" for row in rows])


async def _csv(
    again: RowSource, spelling: RowFormatter, columns: dict[str, Kind]
) -> AsyncIterator[bytes]:
    lines = _Lines()
    # Cells that hold a part of this end are quoted: line ends, and what else parts cells somewhere.
    writer = csv.writer(lines, lineterminator=_LINE_END)
    writer.writerow([*_FIXED, *(f"metrics.{name}" for name in columns)])
    async for rows in _in_turns(again, len(columns)):
        for row in rows:
            told = _read(row.metrics)
            writer.writerow([*spelling.fixed(row), *(_cell(told.get(name)) for name in columns)])
        yield lines.take()
    yield lines.take()


class _Lines:
    """Takes the rows of a CSV until somebody takes them along."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        self._lines.append(line.removesuffix(_LINE_END))

    def take(self) -> bytes:
        told = "".join([f"{line}\n" for line in self._lines])
        self._lines.clear()
        return told.encode()


async def _parquet(
    again: RowSource, spelling: RowFormatter, columns: dict[str, Kind], pa: Any, pq: Any
) -> AsyncIterator[bytes]:
    types = {"null": pa.null(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    numbers = ("startTimeStampMs", "endTimeStampMs")
    fixed = [(name, pa.int64() if name in numbers else pa.string()) for name in _FIXED]
    own = [(f"metrics.{name}", types.get(kind, pa.string())) for name, kind in columns.items()]
    schema = pa.schema(fixed + own)
    sink = _Sink()
    writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema)
    group: list[tuple[object, ...]] = []

    def write() -> bytes:
        arrays = zip(*group, strict=True) if group else [()] * len(schema)
        typed = zip(arrays, schema, strict=True)
        writer.write_table(pa.table([pa.array(a, type=f.type) for a, f in typed], schema=schema))
        group.clear()
        return sink.take()

    async for rows in _in_turns(again, len(columns)):
        for row in rows:
            told = _read(row.metrics)
            cells = (_typed(told.get(name), kind) for name, kind in columns.items())
            group.append((*spelling.fixed(row), *cells))
        if len(group) >= _GROUP:
            yield await trio.to_thread.run_sync(write)
    yield await trio.to_thread.run_sync(write)
    writer.close()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Takes what is written until somebody takes it along."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        told = b"".join(self._parts)
        self._parts.clear()
        return told


async def _in_turns(again: RowSource, cells: int = 0) -> AsyncGenerator[list[StoredMetricRecord]]:
    """The rows, so many at a time as may be read, and written with so many cells, in one turn."""
    async with aclosing(again()) as batches:
        async for rows in batches:
            for turn in _turns(rows, _ROW + _CELL * cells):
                await trio.lowlevel.checkpoint()
                yield turn


def _turns(rows: Iterable[StoredMetricRecord], each: int) -> Iterator[list[StoredMetricRecord]]:
    turn: list[StoredMetricRecord] = []
    cost = 0
    for row in rows:
        turn.append(row)
        cost += each + len(row.metrics)
        if cost >= _TURN:
            yield turn
            turn, cost = [], 0
    if turn:
        yield turn


async def _columns(again: RowSource) -> dict[str, Kind]:
    """The keys of all metrics, in the order in which they come up, and what their values are."""
    columns: dict[str, Kind] = {}
    async with aclosing(_in_turns(again)) as turns:
        async for rows in turns:
            for row in rows:
                for name, value in _read(row.metrics).items():
                    columns[name] = _common(columns.get(name, "null"), _kind(value))
                if len(columns) > MOST_COLUMNS:
                    raise TooManyKeys(f"format: these rows have more than {MOST_COLUMNS:,} keys")
    return columns


def _read(metrics: str) -> dict[str, object]:
    """The values at the top; lists and objects as their JSON, since a row may be full of them."""
    return {name: _value(raw) for name, raw in _read_raw(metrics).items()}


def _value(raw: msgspec.Raw) -> object:
    text = memoryview(raw)
    if text[0] in b"[{":
        return raw
    try:
        return _read_scalar(text)
    except msgspec.ValidationError:  # a number that no float can hold
        return raw


def _kind(value: object) -> Kind:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() if -(2**63) <= value < 2**63:
            return "int"
        case float():
            return "float"
        case str():
            return "str"
    return "json"


def _common(one: Kind, other: Kind) -> Kind:
    """What can hold both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    return "float" if {one, other} == {"int", "float"} else "json"


def _cell(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value
    return _write(value).decode()


def _typed(value: object, kind: Kind) -> object:
    """A value for a column of this kind; of one that came up later, JSON or nothing."""
    if value is None or kind == "json":
        return None if value is None else _write(value).decode()
    return value if _common(kind, _kind(value)) == kind else None


def _import_arrow() -> tuple[Any, Any]:
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet
