"""Prediction metrics: what models track about their predictions, and what is added later.

A record is about one prediction, by its uuid, or about several (an aggregate). It belongs to the
series of a deployment, and so to a build and a model. Records ascend by the start of the time that
they are about; windows include both ends.

Law: all records together never take more than the limit that a writer passes. A writer frees space
for its records in the same transaction, and writes nothing until there is enough (`retention.py`).

Times are milliseconds of Unix time. The metrics are the text of a JSON object, which the caller has
checked.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal
from uuid import UUID

import aiosqlite
import msgspec

from store.errors import NotFound
from store.records import MetricRecord, MetricSeries, StoredMetricRecord
from store.tables.retention import firsts, free_space, taken_by

# Python's threads contend between two statements, so there are few statements, of two shapes.
_ROWS_AT_ONCE = 32
_INTO = "INSERT INTO metrics (source, uuid, start_ms, end_ms, recorded_ms, taken, metrics) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?, ?)"
_INSERT_ROW = f"{_INTO}{_ROW} ON CONFLICT DO NOTHING"
_INSERT_BLOCK = f"{_INTO}{', '.join([_ROW] * _ROWS_AT_ONCE)} ON CONFLICT DO NOTHING"

# Values stay text: decoding them would hold Python's lock for long.
_read_metrics = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_OF_SOURCE = "number, deployment_id, build_id, model_id, row_count, byte_count"


async def append(
    connection: aiosqlite.Connection,
    records: Mapping[str, Sequence[MetricRecord]],
    *,
    limit: int,
    now_ms: int,
) -> int | None:
    """Write records by the ids of their deployments; return how many were written. `now_ms` is the
    time of retention. Return None where there was no space: some was freed, and the caller retries.

    Records of a deleted deployment, and of a prediction that has a record, are not written.
    """
    sizes = {each: [taken_by(row.metrics) for row in rows] for each, rows in records.items()}
    wanted = {each: sum(taken) for each, taken in sizes.items()}
    if not await free_space(connection, wanted, limit):
        return None
    written = 0
    for deployment_id, rows in records.items():
        source = await _series_of(connection, deployment_id)
        if source is not None:
            written += await _append(connection, source.number, rows, sizes[deployment_id], now_ms)
    return written


async def _append(
    connection: aiosqlite.Connection,
    source: int,
    records: Sequence[MetricRecord],
    sizes: Sequence[int],
    now_ms: int,
) -> int:
    rows = [
        (source, _uuid_key(each.uuid), each.start_ms, each.end_ms, now_ms, taken, each.metrics)
        for each, taken in zip(records, sizes, strict=True)
    ]
    before = connection.total_changes
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    blocks = (rows[first : first + _ROWS_AT_ONCE] for first in range(0, whole, _ROWS_AT_ONCE))
    await connection.executemany(_INSERT_BLOCK, [[*chain.from_iterable(each)] for each in blocks])
    await connection.executemany(_INSERT_ROW, rows[whole:])
    written = connection.total_changes - before
    size = sum(sizes)
    if written < len(records):  # some uuids had a record; the new rows are the last
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
    connection: aiosqlite.Connection, uuid: str, delayed: Mapping[str, object], *, limit: int
) -> tuple[str, int, int] | None:
    """Add metrics to those of a prediction; equal keys are replaced. Return the id of its
    deployment, the new size of the text in bytes and its number of keys, or None as `append` does.
    Raises NotFound."""
    rows = await connection.execute_fetchall(
        "SELECT m.number, m.source, s.deployment_id, m.taken, m.metrics FROM metrics AS m"
        " JOIN metric_sources AS s ON s.number = m.source WHERE m.uuid = ?",
        (_uuid_bytes(uuid),),
    )
    if not rows:
        raise NotFound("prediction", uuid)
    ((number, source, deployment_id, before, text),) = rows
    merged = {**_read_metrics(text), **delayed}
    encoded = msgspec.json.encode(merged)
    after = encoded.decode()
    more = taken_by(after) - before
    if not await free_space(connection, {str(deployment_id): more}, limit):
        return None
    async with connection.execute(
        "UPDATE metrics SET metrics = ?, taken = taken + ? WHERE number = ?", (after, more, number)
    ) as cursor:
        if not cursor.rowcount:  # freeing space deleted it
            raise NotFound("prediction", uuid)
    await connection.execute_fetchall(
        "UPDATE metric_sources SET byte_count = byte_count + ? WHERE number = ?", (more, source)
    )
    return str(deployment_id), len(encoded), len(merged)


async def series_of_prediction(connection: aiosqlite.Connection, uuid: str) -> MetricSeries:
    """Return the series of a prediction. Raises NotFound."""
    rows = await connection.execute_fetchall(
        f"SELECT {_OF_SOURCE} FROM metric_sources"
        " WHERE number = (SELECT source FROM metrics WHERE uuid = ?)",
        (_uuid_bytes(uuid),),
    )
    for row in rows:
        return msgspec.convert(dict(row), MetricSeries)
    raise NotFound("prediction", uuid)


async def series_of(
    connection: aiosqlite.Connection,
    noun: Literal["model", "build", "deployment"],
    identifier: str,
) -> list[MetricSeries]:
    """Return the series of a model, a build or a deployment, ascending."""
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
    """Return the first `most` records of some series that start within a window, ascending by
    start. `after` is the start and the number of the record that they follow."""
    start_ms, number = max((start_ms, 0), after or (0, 0))
    found: list[StoredMetricRecord] = []
    for source, first in await firsts(connection, of, start_ms, end_ms):
        # Deployments follow each other, so most have no record in this window.
        if len(found) == most and found[-1].start_ms < first:
            break
        rows = await connection.execute_fetchall(
            "SELECT number, source, uuid, start_ms, end_ms, metrics FROM metrics"
            " WHERE source = ? AND start_ms BETWEEN ? AND ? AND (start_ms > ? OR number > ?)"
            " ORDER BY start_ms, number LIMIT ?",
            (source, start_ms, end_ms, start_ms, number, most),
        )
        found += map(_stored, rows)
        found = sorted(found, key=lambda row: (row.start_ms, row.number))[:most]
    return found


async def newest(
    connection: aiosqlite.Connection,
    of: Iterable[int],
    *,
    aggregates: bool,
    start_ms: int,
    end_ms: int,
    after: tuple[int, int] | None = None,
    most: int,
) -> list[StoredMetricRecord]:
    """Return the last `most` records of predictions, or aggregates, of some series that start
    within a window, descending by start. `after` is as in `window`."""
    index, sign = ("aggregate", "NULL") if aggregates else ("window", "NOT NULL")
    end_ms, number = (min(end_ms, after[0]), after[1]) if after else (end_ms, 2**63 - 1)
    within = (
        f"FROM metrics INDEXED BY metrics_of_{index} WHERE source = {{}}"
        f" AND start_ms BETWEEN :start AND :end AND uuid IS {sign}"
        " AND (start_ms < :end OR number < :number)"
        " ORDER BY start_ms DESC, number DESC LIMIT"
    )
    wanted = {"start": start_ms, "end": end_ms, "number": number, "most": most}
    series = ", ".join(str(int(each)) for each in of)
    lasts = await connection.execute_fetchall(
        f"SELECT number, (SELECT start_ms {within.format('s.number')} 1) AS last"
        f" FROM metric_sources AS s WHERE number IN ({series}) AND last IS NOT NULL"
        " ORDER BY last DESC",
        wanted,
    )
    found: list[StoredMetricRecord] = []
    for source, last in lasts:
        if len(found) == most and found[-1].start_ms > last:
            break
        sql = f"SELECT number, source, uuid, start_ms, end_ms, metrics {within.format(int(source))}"
        found += map(_stored, await connection.execute_fetchall(f"{sql} :most", wanted))
        found = sorted(found, key=lambda row: (-row.start_ms, -row.number))[:most]
    return found


async def totals(connection: aiosqlite.Connection) -> tuple[int, int]:
    """Return the number of records and their size in bytes."""
    ((rows, size),) = await connection.execute_fetchall(
        "SELECT coalesce(sum(row_count), 0), coalesce(sum(byte_count), 0) FROM metric_sources"
    )
    return int(rows), int(size)


async def _series_of(connection: aiosqlite.Connection, deployment_id: str) -> MetricSeries | None:
    """Return the series of a deployment, created for its first record; None if it was deleted."""
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


def _stored(row: Iterable[Any]) -> StoredMetricRecord:
    number, source, uuid, start, end, text = row
    return StoredMetricRecord(
        number=number,
        series=source,
        uuid=_text(uuid),
        start_ms=start,
        end_ms=end,
        metrics=text,
    )


def _uuid_key(uuid: str) -> bytes | None:
    return bytes.fromhex(uuid.replace("-", "")) if uuid else None  # three times as fast as UUID()


def _uuid_bytes(uuid: str) -> bytes:
    """Raises NotFound for a text that is not a uuid."""
    try:
        return UUID(uuid).bytes
    except ValueError:
        raise NotFound("prediction", uuid) from None


def _text(uuid: bytes | None) -> str:
    return str(UUID(bytes=uuid)) if uuid is not None else ""
