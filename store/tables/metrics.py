"""Metrics: what models tell of their predictions, and what is found out about these later.

A row is of one prediction, by its uuid, or of many (an aggregate). It belongs to a deployment, and
by it to a build and a model. Rows ascend by the start of what they tell of; windows include both
ends.

Law: all rows together never take more than the limit that a writer names. A writer makes room for
what it is about to write, in the same transaction, and writes nothing until there is enough
(`retention.py`).

Times are milliseconds of Unix time. What is kept is the text of a JSON object, checked by whoever
brings it.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Literal
from uuid import UUID

import aiosqlite
import msgspec

from store.errors import NotFound
from store.records import MetricRecord, MetricSeries, StoredMetricRecord
from store.tables.retention import firsts, make_room, taken_by

# Between two statements Python's threads are in each other's way: as few as can be, of two shapes.
_ROWS_AT_ONCE = 32
_INTO = "INSERT INTO metrics (source, uuid, start_ms, end_ms, recorded_ms, taken, metrics) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?, ?)"
_INSERT_ROW = f"{_INTO}{_ROW} ON CONFLICT DO NOTHING"
_INSERT_BLOCK = f"{_INTO}{', '.join([_ROW] * _ROWS_AT_ONCE)} ON CONFLICT DO NOTHING"

# Values stay text: to make objects of them would hold Python's lock for long.
_read_metrics = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_OF_SOURCE = "number, deployment_id, build_id, model_id, row_count, byte_count"


async def append(
    connection: aiosqlite.Connection,
    told: Mapping[str, Sequence[MetricRecord]],
    *,
    limit: int,
    now_ms: int,
) -> int | None:
    """Write what deployments have told, by their ids, at the time `now_ms` of retention; return how
    many rows that made. None: there was no room, some was made, and the caller asks again.

    None of a deployment that was deleted meanwhile, and none of a prediction that has one.
    """
    sizes = {each: [taken_by(row.metrics) for row in rows] for each, rows in told.items()}
    wanted = {each: sum(taken) for each, taken in sizes.items()}
    if not await make_room(connection, wanted, limit):
        return None
    written = 0
    for deployment_id, rows in told.items():
        source = await _source_of(connection, deployment_id)
        if source is not None:
            written += await _append(connection, source.number, rows, sizes[deployment_id], now_ms)
    return written


async def _append(
    connection: aiosqlite.Connection,
    source: int,
    told: Sequence[MetricRecord],
    sizes: Sequence[int],
    now_ms: int,
) -> int:
    rows = [
        (source, _key(each.uuid), each.start_ms, each.end_ms, now_ms, taken, each.metrics)
        for each, taken in zip(told, sizes, strict=True)
    ]
    before = connection.total_changes
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    blocks = (rows[first : first + _ROWS_AT_ONCE] for first in range(0, whole, _ROWS_AT_ONCE))
    await connection.executemany(_INSERT_BLOCK, [[*chain.from_iterable(each)] for each in blocks])
    await connection.executemany(_INSERT_ROW, rows[whole:])
    written = connection.total_changes - before
    size = sum(sizes)
    if written < len(told):  # somebody made up a uuid; the new ones are the last
        ((size,),) = await connection.execute_fetchall(
            "SELECT coalesce(sum(taken), 0) FROM"
            " (SELECT taken FROM metrics ORDER BY number DESC LIMIT ?)",
            (written,),
        )
    await connection.execute_fetchall(
        "UPDATE metric_sources SET row_count = row_count + ?, byte_count = byte_count + ?"
        " WHERE number = ?",
        (written, size, source),
    )
    return written


async def merge(
    connection: aiosqlite.Connection, uuid: str, found_out: Mapping[str, object], *, limit: int
) -> tuple[int, int] | None:
    """Add to the metrics of a prediction; what has the same key is replaced. Return how many bytes
    their text has then, and how many keys they have. None: as for `append`. Raises NotFound."""
    rows = await connection.execute_fetchall(
        "SELECT m.number, m.source, s.deployment_id, m.taken, m.metrics FROM metrics AS m"
        " JOIN metric_sources AS s ON s.number = m.source WHERE m.uuid = ?",
        (_sought(uuid),),
    )
    if not rows:
        raise NotFound("prediction", uuid)
    ((number, source, deployment_id, before, text),) = rows
    merged = {**_read_metrics(text), **found_out}
    encoded = msgspec.json.encode(merged)
    after = encoded.decode()
    more = taken_by(after) - before
    if not await make_room(connection, {str(deployment_id): more}, limit):
        return None
    async with connection.execute(
        "UPDATE metrics SET metrics = ?, taken = taken + ? WHERE number = ?", (after, more, number)
    ) as cursor:
        if not cursor.rowcount:  # it was the next to go
            raise NotFound("prediction", uuid)
    await connection.execute_fetchall(
        "UPDATE metric_sources SET byte_count = byte_count + ? WHERE number = ?", (more, source)
    )
    return len(encoded), len(merged)


async def series_of_prediction(connection: aiosqlite.Connection, uuid: str) -> MetricSeries:
    """Return whose a prediction is. Raises NotFound."""
    rows = await connection.execute_fetchall(
        f"SELECT {_OF_SOURCE} FROM metric_sources"
        " WHERE number = (SELECT source FROM metrics WHERE uuid = ?)",
        (_sought(uuid),),
    )
    for row in rows:
        return msgspec.convert(dict(row), MetricSeries)
    raise NotFound("prediction", uuid)


async def series_of(
    connection: aiosqlite.Connection,
    noun: Literal["model", "build", "deployment"],
    identifier: str,
) -> list[MetricSeries]:
    """Return the sources that are of a model, a build or a deployment, ascending."""
    rows = await connection.execute_fetchall(
        f"SELECT {_OF_SOURCE} FROM metric_sources WHERE {noun}_id = ? ORDER BY number",
        (identifier,),
    )
    return [msgspec.convert(dict(row), MetricSeries) for row in rows]


async def window(
    connection: aiosqlite.Connection,
    of: Iterable[int],
    *,
    start_ms: int,
    end_ms: int,
    after: tuple[int, int] | None = None,
    most: int,
) -> list[StoredMetricRecord]:
    """Return the first `most` rows of some sources that start within a window, ascending by start;
    of those that follow the row of this start and number, if one is given."""
    start_ms, number = max((start_ms, 0), after or (0, 0))
    found: list[StoredMetricRecord] = []
    for source, first in await firsts(connection, of, start_ms, end_ms):
        # Deployments follow each other: of most of them nothing falls into this part.
        if len(found) == most and found[-1].start_ms < first:
            break
        rows = await connection.execute_fetchall(
            "SELECT number, source, uuid, start_ms, end_ms, metrics FROM metrics"
            " WHERE source = ? AND start_ms BETWEEN ? AND ? AND (start_ms > ? OR number > ?)"
            " ORDER BY start_ms, number LIMIT ?",
            (source, start_ms, end_ms, start_ms, number, most),
        )
        found += [
            StoredMetricRecord(
                number=n, series=s, uuid=_text(u), start_ms=start, end_ms=end, metrics=text
            )
            for n, s, u, start, end, text in rows
        ]
        found = sorted(found, key=lambda row: (row.start_ms, row.number))[:most]
    return found


async def totals(connection: aiosqlite.Connection) -> tuple[int, int]:
    """Return how many rows there are and how many bytes they take."""
    ((rows, size),) = await connection.execute_fetchall(
        "SELECT coalesce(sum(row_count), 0), coalesce(sum(byte_count), 0) FROM metric_sources"
    )
    return int(rows), int(size)


async def _source_of(connection: aiosqlite.Connection, deployment_id: str) -> MetricSeries | None:
    """The source that a deployment is, made if it is its first row; None: it was deleted."""
    sought = (
        f"SELECT {_OF_SOURCE} FROM metric_sources WHERE deployment_id = ?"
        " AND EXISTS (SELECT 1 FROM deployments WHERE id = deployment_id)"
    )
    rows = list(await connection.execute_fetchall(sought, (deployment_id,)))
    if not rows:
        await connection.execute_fetchall(
            "INSERT INTO metric_sources (deployment_id, build_id, model_id)"
            " SELECT id, coalesce(build_id, ''), model_id FROM deployments WHERE id = ?",
            (deployment_id,),
        )
        rows = list(await connection.execute_fetchall(sought, (deployment_id,)))
    return msgspec.convert(dict(rows[0]), MetricSeries) if rows else None


def _key(uuid: str) -> bytes | None:
    return bytes.fromhex(uuid.replace("-", "")) if uuid else None  # a third of what UUID costs


def _sought(uuid: str) -> bytes:
    """Raises NotFound for what is no uuid."""
    try:
        return UUID(uuid).bytes
    except ValueError:
        raise NotFound("prediction", uuid) from None


def _text(uuid: bytes | None) -> str:
    return str(UUID(bytes=uuid)) if uuid is not None else ""
