"""Exports metrics: as the SDK's rows, and as tables that other programs read.

JSON Lines has one row per line, JSON is a list of rows. In CSV and Parquet each top-level key of
any row's metrics is a column `metrics.<key>`; a list or an object is JSON text. In CSV a text that
a spreadsheet would take for a formula is prefixed with `'`, as OWASP advises; numbers stay numbers.

The columns are known only when all rows have been read, so CSV and Parquet read the rows twice and
leave out keys that first appear in between. The work is done in small turns, since the same loop
serves predictions.

The number of columns is limited, because each row has a cell for every key of all rows.
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
    "json": "application/json",
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
# The cost of a row and of a cell, in bytes of metrics that are parsed in the same time, and of one
# turn: less than a millisecond.
_ROW, _CELL, _TURN = 1000, 40, 50_000
# Rows in a row group of Parquet.
_GROUP = 10_000

# The first character of a formula, also in the full-width forms of some input methods.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LINE_END = ";\t\r\n"

RowSource = Callable[[], AsyncGenerator[list[StoredMetricRecord]]]
Kind = Literal["null", "bool", "int", "float", "str", "json"]
_read_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode
_write = msgspec.json.encode


class NotInstalled(Exception):
    """A package that the format needs is not installed."""

    advice = "pip install 'predictd[parquet]' where the gateway is installed"


class TooManyKeys(Exception):
    """The table would have too many columns."""

    advice = "use format=jsonl, or a shorter window"


class RowFormatter:
    """Formats rows as the SDK has them, with full names of model, build and deployment."""

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
        """One row as JSON. Its metrics are the text that was recorded."""
        return b'%b%d,"endTimeStampMs":%d,"predictionUuid":"%b","metrics":%b}' % (
            self._begin[row.series],
            row.start_ms,
            row.end_ms,
            row.uuid.encode(),
            row.metrics.encode(),
        )

    def fixed(self, row: StoredMetricRecord) -> tuple[object, ...]:
        """The values of the columns that every row has, in their order."""
        return *self._names[row.series], row.start_ms, row.end_ms, row.uuid


async def as_table(kind: str, source: RowSource, formatter: RowFormatter) -> AsyncIterator[bytes]:
    """A file of this format, in parts. `source` returns all rows each time it is called.

    Raises NotInstalled, or TooManyKeys.
    """
    if kind == "jsonl":
        return _json_lines(source, formatter)
    if kind == "json":
        return _json(source, formatter)
    if kind == "csv":
        return _csv(source, formatter, await _columns(source))
    try:
        arrow = await trio.to_thread.run_sync(_import_arrow)
    except ImportError as error:
        raise NotInstalled(f"format: parquet needs pyarrow: {error}") from None
    return _parquet(source, formatter, await _columns(source), *arrow)


async def _json_lines(source: RowSource, formatter: RowFormatter) -> AsyncIterator[bytes]:
    async for rows in _in_turns(source):
        yield b"".join([formatter.json(row) + b"\n" for row in rows])


async def _json(source: RowSource, formatter: RowFormatter) -> AsyncIterator[bytes]:
    before = b"["
    async for rows in _in_turns(source):
        yield before + b",\n".join([formatter.json(row) for row in rows])
        before = b",\n"
    yield b"]\n" if before != b"[" else b"[]\n"


async def _csv(
    source: RowSource, formatter: RowFormatter, columns: dict[str, Kind]
) -> AsyncIterator[bytes]:
    lines = _Lines()
    # A cell that contains a character of this line end is quoted: line ends and other separators.
    writer = csv.writer(lines, lineterminator=_LINE_END)
    writer.writerow([*_FIXED, *(f"metrics.{name}" for name in columns)])
    async for rows in _in_turns(source, len(columns)):
        for row in rows:
            values = _read(row.metrics)
            writer.writerow([*formatter.fixed(row), *(_cell(values.get(name)) for name in columns)])
        yield lines.take()
    yield lines.take()


class _Lines:
    """Collects the rows of a CSV until `take` returns them."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        self._lines.append(line.removesuffix(_LINE_END))

    def take(self) -> bytes:
        text = "".join([f"{line}\n" for line in self._lines])
        self._lines.clear()
        return text.encode()


async def _parquet(
    source: RowSource, formatter: RowFormatter, columns: dict[str, Kind], pa: Any, pq: Any
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

    async for rows in _in_turns(source, len(columns)):
        for row in rows:
            values = _read(row.metrics)
            cells = (_typed(values.get(name), kind) for name, kind in columns.items())
            group.append((*formatter.fixed(row), *cells))
        if len(group) >= _GROUP:
            yield await trio.to_thread.run_sync(write)
    yield await trio.to_thread.run_sync(write)
    writer.close()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Collects what is written until `take` returns it."""

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
        data = b"".join(self._parts)
        self._parts.clear()
        return data


async def _in_turns(source: RowSource, cells: int = 0) -> AsyncGenerator[list[StoredMetricRecord]]:
    """The rows in turns: as many as may be read, and written with so many cells, in one turn."""
    async with aclosing(source()) as batches:
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


async def _columns(source: RowSource) -> dict[str, Kind]:
    """The keys of all metrics, in order of appearance, and the types of their values."""
    columns: dict[str, Kind] = {}
    async with aclosing(_in_turns(source)) as turns:
        async for rows in turns:
            for row in rows:
                for name, value in _read(row.metrics).items():
                    columns[name] = _common(columns.get(name, "null"), _kind(value))
                if len(columns) > MOST_COLUMNS:
                    raise TooManyKeys(f"format: these rows have more than {MOST_COLUMNS:,} keys")
    return columns


def _read(metrics: str) -> dict[str, object]:
    """The top-level values. Lists and objects stay JSON text, since a row may be full of them."""
    return {name: _value(raw) for name, raw in _read_raw(metrics).items()}


def _value(raw: msgspec.Raw) -> object:
    text = memoryview(raw)
    if text[0] in b"[{":
        return raw
    try:
        return _read_scalar(text)
    except msgspec.ValidationError:  # a number beyond the range of a float
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
    """The kind that can hold both."""
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
    """A value for a column of this kind, or None if the kind cannot hold it."""
    if value is None or kind == "json":
        return None if value is None else _write(value).decode()
    return value if _common(kind, _kind(value)) == kind else None


def _import_arrow() -> tuple[Any, Any]:
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet
