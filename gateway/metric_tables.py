"""Metrics on their way out: as the SDK's rows, and as tables that other programs read.

JSON Lines has a row in each line. In CSV and Parquet each key at the top of any row's metrics is a
column `metrics.<key>`; what has no form in a cell is JSON text. Which columns there are is only
known when all rows were looked at, so these two look twice; a key that is first told of in between
is left out. All of it is done in small turns, since predictions are served beside it.
"""

import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Literal

import msgspec
import trio

from gateway.crns import crn
from store import MetricRow, MetricSource

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
# Rows of one turn: less than a millisecond.
_TURN = 50
# Rows of a group of Parquet.
_GROUP = 10_000

Again = Callable[[], AsyncGenerator[list[MetricRow]]]
Kind = Literal["null", "bool", "int", "float", "str", "json"]
_read = msgspec.json.Decoder(dict[str, Any]).decode
_write = msgspec.json.encode


class NotInstalled(Exception):
    """What a format needs is not there."""

    advice = "pip install 'predictd[parquet]' where the gateway is installed"


class Spelling:
    """Rows as the SDK has them, the names of what they are of in full."""

    def __init__(self, workspace: str, sources: Iterable[MetricSource]) -> None:
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

    def json(self, row: MetricRow) -> bytes:
        """One row as JSON. Its metrics are what was told, to the letter."""
        return b'%b%d,"endTimeStampMs":%d,"predictionUuid":"%b","metrics":%b}' % (
            self._begin[row.source],
            row.start_ms,
            row.end_ms,
            row.uuid.encode(),
            row.metrics.encode(),
        )

    def fixed(self, row: MetricRow) -> tuple[object, ...]:
        """What every row has, in the order of its columns."""
        return *self._names[row.source], row.start_ms, row.end_ms, row.uuid


async def as_table(kind: str, again: Again, spelling: Spelling) -> AsyncIterator[bytes]:
    """The rows that `again` gives, each time it is called, as a file of this format, in parts.

    Raises NotInstalled.
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


async def _json_lines(again: Again, spelling: Spelling) -> AsyncIterator[bytes]:
    async for rows in _in_turns(again):
        yield b"".join([spelling.json(row) + b"\n" for row in rows])


async def _csv(again: Again, spelling: Spelling, columns: dict[str, Kind]) -> AsyncIterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIXED, *(f"metrics.{name}" for name in columns)])
    async for rows in _in_turns(again):
        for row in rows:
            told = _read(row.metrics)
            writer.writerow([*spelling.fixed(row), *(_cell(told.get(name)) for name in columns)])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


async def _parquet(
    again: Again, spelling: Spelling, columns: dict[str, Kind], pa: Any, pq: Any
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

    async for rows in _in_turns(again):
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


async def _in_turns(again: Again) -> AsyncIterator[list[MetricRow]]:
    async with aclosing(again()) as batches:
        async for rows in batches:
            for begin in range(0, len(rows), _TURN):
                await trio.lowlevel.checkpoint()
                yield rows[begin : begin + _TURN]


async def _columns(again: Again) -> dict[str, Kind]:
    """The keys of all metrics, in the order in which they come up, and what their values are."""
    columns: dict[str, Kind] = {}
    async for rows in _in_turns(again):
        for row in rows:
            for name, value in _read(row.metrics).items():
                columns[name] = _common(columns.get(name, "null"), _kind(value))
    return columns


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
    if value is None or isinstance(value, str):
        return value
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
