"""Metrics: what models tell of their predictions, and what is found out about these later.

A row is of one prediction, by its uuid, or of many (an aggregate). It belongs to a deployment, and
by it to a build and a model; rows of one that is deleted are nobody's from then on and go bit by
bit (`forget_strangers`). Rows ascend by the start of what they tell of; windows include both ends.

Times are milliseconds of Unix time. What is kept is the text of a JSON object, checked by whoever
brings it.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import inf
from typing import Literal
from uuid import UUID

import aiosqlite
import msgspec

from store.errors import NotFound
from store.records import Measurement, MetricRow, MetricSource

# No row starts later.
_LAST = 2**62
# What a row takes in the file beside its text: its columns, and its places in two indices.
ROW_BYTES = 100

# Between two statements Python's threads are in each other's way: as few as can be, of two shapes.
_ROWS_AT_ONCE = 32
_INTO = "INSERT INTO metrics (source, uuid, start_ms, end_ms, recorded_ms, metrics) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?)"
_INSERT_ROW = f"{_INTO}{_ROW} ON CONFLICT DO NOTHING"
_INSERT_BLOCK = f"{_INTO}{', '.join([_ROW] * _ROWS_AT_ONCE)} ON CONFLICT DO NOTHING"

# Values stay text: to make objects of them would hold Python's lock for long.
_read_metrics = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_OF_SOURCE = "number, deployment_id, build_id, model_id, row_count, byte_count"


async def append(
    connection: aiosqlite.Connection, deployment_id: str, told: Sequence[Measurement]
) -> int:
    """Write what a deployment has told; return how many rows that made.

    None of a deployment that was deleted meanwhile, and none of a prediction that has one.
    """
    source = await _source_of(connection, deployment_id)
    if source is None:
        return 0
    recorded = time.time_ns() // 1_000_000
    rows = [
        (source.number, _key(each.uuid), each.start_ms, each.end_ms, recorded, each.metrics)
        for each in told
    ]
    before = connection.total_changes
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    blocks = (rows[first : first + _ROWS_AT_ONCE] for first in range(0, whole, _ROWS_AT_ONCE))
    await connection.executemany(_INSERT_BLOCK, [[*chain.from_iterable(each)] for each in blocks])
    await connection.executemany(_INSERT_ROW, rows[whole:])
    written = connection.total_changes - before
    size = sum(len(each.metrics) for each in told)
    if written < len(told):  # somebody made up a uuid; the new ones are the last
        ((size,),) = await connection.execute_fetchall(
            "SELECT coalesce(sum(length(metrics)), 0) FROM"
            " (SELECT metrics FROM metrics ORDER BY number DESC LIMIT ?)",
            (written,),
        )
    await _count(connection, source.number, written, size + written * ROW_BYTES)
    return written


async def append_all(
    connection: aiosqlite.Connection, told: Mapping[str, Sequence[Measurement]]
) -> None:
    """Write what several deployments have told, by their ids; see `append`."""
    for deployment_id, each in told.items():
        await append(connection, deployment_id, each)


async def merge(
    connection: aiosqlite.Connection, uuid: str, found_out: Mapping[str, object]
) -> tuple[int, int]:
    """Add to the metrics of a prediction; what has the same key is replaced. Return how long their
    text is then, and how many keys they have. Raises NotFound."""
    rows = await connection.execute_fetchall(
        "SELECT number, source, metrics FROM metrics WHERE uuid = ?", (_sought(uuid),)
    )
    if not rows:
        raise NotFound("prediction", uuid)
    ((number, source, before),) = rows
    merged = {**_read_metrics(before), **found_out}
    after = msgspec.json.encode(merged).decode()
    await connection.execute_fetchall(
        "UPDATE metrics SET metrics = ? WHERE number = ?", (after, number)
    )
    await _count(connection, source, 0, len(after) - len(before))
    return len(after), len(merged)


async def source_of_prediction(connection: aiosqlite.Connection, uuid: str) -> MetricSource:
    """Return whose a prediction is. Raises NotFound."""
    rows = await connection.execute_fetchall(
        f"SELECT {_OF_SOURCE} FROM metric_sources"
        " WHERE number = (SELECT source FROM metrics WHERE uuid = ?)",
        (_sought(uuid),),
    )
    for row in rows:
        return msgspec.convert(dict(row), MetricSource)
    raise NotFound("prediction", uuid)


async def sources(
    connection: aiosqlite.Connection,
    noun: Literal["model", "build", "deployment"],
    identifier: str,
) -> list[MetricSource]:
    """Return the sources that are of a model, a build or a deployment, ascending."""
    rows = await connection.execute_fetchall(
        f"SELECT {_OF_SOURCE} FROM metric_sources WHERE {noun}_id = ? ORDER BY number",
        (identifier,),
    )
    return [msgspec.convert(dict(row), MetricSource) for row in rows]


async def window(
    connection: aiosqlite.Connection,
    of: Iterable[int],
    *,
    start_ms: int,
    end_ms: int,
    after: tuple[int, int] | None = None,
    most: int,
) -> list[MetricRow]:
    """Return the first `most` rows of some sources that start within a window, ascending by start;
    of those that follow the row of this start and number, if one is given."""
    start_ms, number = max((start_ms, 0), after or (0, 0))
    found: list[MetricRow] = []
    for source, first in await _firsts(connection, of, start_ms, end_ms):
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
            MetricRow(number=n, source=s, uuid=_text(u), start_ms=start, end_ms=end, metrics=text)
            for n, s, u, start, end, text in rows
        ]
        found = sorted(found, key=lambda row: (row.start_ms, row.number))[:most]
    return found


async def _firsts(
    connection: aiosqlite.Connection, of: Iterable[int], start_ms: int, end_ms: int
) -> list[tuple[int, int]]:
    """Those of the sources that have rows in a window, with the start of the first, ascending."""
    numbers = ", ".join(str(source) for source in of)
    rows = await connection.execute_fetchall(
        "SELECT number, (SELECT start_ms FROM metrics WHERE source = s.number"
        " AND start_ms BETWEEN ? AND ? ORDER BY start_ms LIMIT 1) AS first"
        f" FROM metric_sources AS s WHERE number IN ({numbers}) AND first IS NOT NULL"
        " ORDER BY first",
        (start_ms, end_ms),
    )
    return [(int(source), int(first)) for source, first in rows]


async def totals(connection: aiosqlite.Connection) -> tuple[int, int]:
    """Return how many rows there are and how many bytes they take."""
    ((rows, size),) = await connection.execute_fetchall(
        "SELECT coalesce(sum(row_count), 0), coalesce(sum(byte_count), 0) FROM metric_sources"
    )
    return int(rows), int(size)


async def forget_old(connection: aiosqlite.Connection, before_ms: int, most: int) -> int:
    """Forget rows that were written before then, the first `most`; return how many."""
    return await _forget(
        connection,
        "SELECT number, source, length(metrics) FROM"
        " (SELECT * FROM metrics ORDER BY number LIMIT ?) WHERE recorded_ms < ?",
        most,
        before_ms,
    )


async def forget_above(connection: aiosqlite.Connection, size: int, most: int) -> int:
    """Forget up to `most` rows if all together take more than `size` bytes; return how many.

    What goes is of the project that has most, the first to start first, and no more of it than
    brings it to its share: a project that has less than that loses nothing to another.
    """
    taken = {
        str(project): int(taken)
        for project, taken in await connection.execute_fetchall(
            "SELECT m.project_id, sum(s.byte_count) FROM metric_sources AS s"
            " JOIN models AS m ON m.id = s.model_id GROUP BY m.project_id"
        )
    }
    share = fair_share(taken.values(), size)
    if not taken or (largest := max(taken.values())) <= share:
        return 0
    [project, *_] = [each for each in taken if taken[each] == largest]
    of_project = await connection.execute_fetchall(
        "SELECT s.number FROM metric_sources AS s JOIN models AS m ON m.id = s.model_id"
        " WHERE m.project_id = ? AND s.row_count > 0",
        (project,),
    )
    numbers = [int(number) for (number,) in of_project]
    return await _forget_first(connection, numbers, largest - share, most)


def fair_share(taken: Iterable[int], size: int) -> float:
    """What each may have at most, so that all fit into `size` and those with less keep theirs."""
    ascending = sorted(taken)
    if sum(ascending) <= size:
        return inf
    left, others = size, len(ascending)
    for each in ascending:
        if each * others >= left:
            break
        left, others = left - each, others - 1
    return left / others


async def _forget_first(
    connection: aiosqlite.Connection, sources: Sequence[int], size: float, most: int
) -> int:
    """Forget the first rows of some sources by start, `most` of them or those of `size` bytes."""
    found: list[tuple[int, int, int, int]] = []
    for source, first in await _firsts(connection, sources, 0, _LAST):
        if len(found) == most and found[-1][0] < first:
            break
        rows = await connection.execute_fetchall(
            "SELECT start_ms, number, source, length(metrics) FROM metrics"
            " WHERE source = ? ORDER BY start_ms, number LIMIT ?",
            (source, most),
        )
        found = sorted([*found, *((int(a), int(b), int(c), int(d)) for a, b, c, d in rows)])[:most]
    gone = []
    for _, *row in found:
        if size <= 0:
            break
        gone.append(row)
        size -= row[-1] + ROW_BYTES
    return await _forget_rows(connection, gone)


async def forget_strangers(connection: aiosqlite.Connection, most: int) -> int:
    """Forget rows of models that were deleted, `most` of them; return how many."""
    found = await connection.execute_fetchall(
        "SELECT number FROM metric_sources WHERE model_id NOT IN (SELECT id FROM models) LIMIT 1"
    )
    for (source,) in found:
        chosen = "SELECT number, source, length(metrics) FROM metrics WHERE source = ? LIMIT ?"
        if gone := await _forget(connection, chosen, source, most):
            return gone
        await connection.execute_fetchall("DELETE FROM metric_sources WHERE number = ?", (source,))
        return 1
    return 0


async def _forget(connection: aiosqlite.Connection, chosen: str, *values: int) -> int:
    """Forget the rows that a statement chooses, by number, source and length."""
    return await _forget_rows(connection, await connection.execute_fetchall(chosen, values))


async def _forget_rows(connection: aiosqlite.Connection, chosen: Iterable[Iterable[int]]) -> int:
    gone = [(int(number), int(source), int(length)) for number, source, length in chosen]
    await connection.executemany(
        "DELETE FROM metrics WHERE number = ?", [(number,) for number, _, _ in gone]
    )
    for source in {source for _, source, _ in gone}:
        sizes = [length + ROW_BYTES for _, own, length in gone if own == source]
        await _count(connection, source, -len(sizes), -sum(sizes))
    return len(gone)


async def _source_of(connection: aiosqlite.Connection, deployment_id: str) -> MetricSource | None:
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
    return msgspec.convert(dict(rows[0]), MetricSource) if rows else None


async def _count(connection: aiosqlite.Connection, source: int, rows: int, size: int) -> None:
    await connection.execute_fetchall(
        "UPDATE metric_sources SET row_count = row_count + ?, byte_count = byte_count + ?"
        " WHERE number = ?",
        (rows, size, source),
    )


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
