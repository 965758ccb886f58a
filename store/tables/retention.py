"""Which metric records are deleted, and when: for space, by age, or with their model.

Laws. The records never take more than the limit after a transaction that writes (`free_space`). For
space, the project that has most loses its records with the earliest start, and no more of them than
needed. Age is the time at which a record was written, which does not follow a jump of the clock
(`gateway/control/metrics/retention_clock.py`). Each transaction deletes a bounded number of rows
and bytes, so other writers wait for milliseconds.

Deleted rows leave free pages in the file, which `Database.shrink` gives back to the disk.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

import aiosqlite
import msgspec

# Deleted in one transaction at most; always at least one row.
ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 4 * 1024 * 1024

# SQLite's file format (https://www.sqlite.org/fileformat2.html): a leaf is a page of 4096 bytes
# without its header; a row longer than LONGEST bytes continues on overflow pages.
_PAGE, _LEAF, _LONGEST, _SHORTEST, _OVERFLOW = 4096, 4088, 4061, 489, 4092
# Bytes of a row besides its text: its columns, and its entries in two indices.
_COLUMNS, _INDICES = 40, 60

# No record starts later.
_LAST = 2**62


def taken_by(text: str) -> int:
    """Return the bytes that a row with this text takes in the file, among rows of the same length
    (gotcha G12)."""
    size = _COLUMNS + (len(text) if text.isascii() else len(text.encode()))
    pages = 0
    if size > _LONGEST:
        local = _SHORTEST + (size - _SHORTEST) % _OVERFLOW
        local = local if local <= _LONGEST else _SHORTEST
        pages, size = -(-(size - local) // _OVERFLOW), local
    return _INDICES + pages * _PAGE + _PAGE // (_LEAF // size)


async def free_space(
    connection: aiosqlite.Connection,
    wanted: Mapping[str, int],
    limit: int,
    most: int = ROWS_AT_ONCE,
) -> bool:
    """Delete up to `most` rows if the stored rows and `wanted` (bytes by the ids of deployments)
    take more than `limit`. Return whether `wanted` fits afterwards.

    A caller that retries succeeds in the end. Raises ValueError if `wanted` exceeds `limit`.
    """
    if sum(wanted.values()) > limit:
        raise ValueError(f"{sum(wanted.values()):,} bytes exceed the limit of {limit:,} bytes")
    missing = await _total(connection) + sum(wanted.values()) - limit
    if missing <= 0:
        return True
    if not await delete_orphans(connection, most):
        await _delete_of_largest(connection, wanted, limit, missing, most)
    return await _total(connection) + sum(wanted.values()) <= limit


async def _total(connection: aiosqlite.Connection) -> int:
    ((size,),) = await connection.execute_fetchall(
        "SELECT coalesce(sum(byte_count), 0) FROM metric_sources"
    )
    return int(size)


async def _delete_of_largest(
    connection: aiosqlite.Connection,
    wanted: Mapping[str, int],
    limit: int,
    missing: int,
    most: int,
) -> None:
    """Delete rows of the project that has most, including what it wants, down to its share."""
    stored = {
        str(project): int(taken)
        for project, taken in await connection.execute_fetchall(
            "SELECT m.project_id, sum(s.byte_count) FROM metric_sources AS s"
            " JOIN models AS m ON m.id = s.model_id GROUP BY m.project_id"
        )
    }
    total = dict(stored)
    for project, deployment in await connection.execute_fetchall(
        "SELECT project_id, id FROM deployments WHERE id IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(list(wanted)).decode(),),
    ):
        total[str(project)] = total.get(str(project), 0) + wanted[str(deployment)]
    # A project without rows cannot lose any, however much it wants.
    largest = max((each for each in stored if stored[each] > 0), key=lambda each: total[each])
    above = total[largest] - fair_share(total.values(), limit)
    of_project = await connection.execute_fetchall(
        "SELECT s.number FROM metric_sources AS s JOIN models AS m ON m.id = s.model_id"
        " WHERE m.project_id = ? AND s.row_count > 0",
        (largest,),
    )
    numbers = [int(number) for (number,) in of_project]
    await _delete_first(connection, numbers, above if above > 0 else missing, most)


def fair_share(taken: Iterable[int], size: int) -> float:
    """Return the most that each may have, so that all fit into `size` and smaller ones lose
    nothing."""
    ascending = sorted(taken)
    if sum(ascending) <= size:
        return inf
    left, others = size, len(ascending)
    for each in ascending:
        if each * others >= left:
            break
        left, others = left - each, others - 1
    return left / others


async def _delete_first(
    connection: aiosqlite.Connection, sources: Sequence[int], size: float, most: int
) -> None:
    """Delete the first rows of some series by start: `most` of them, or rows of `size` bytes."""
    found: list[tuple[int, int, int, int]] = []
    for source, first in await firsts(connection, sources, 0, _LAST):
        if len(found) == most and found[-1][0] < first:
            break
        rows = await connection.execute_fetchall(
            "SELECT start_ms, number, source, taken FROM metrics"
            " WHERE source = ? ORDER BY start_ms, number LIMIT ?",
            (source, most),
        )
        found = sorted([*found, *((int(a), int(b), int(c), int(d)) for a, b, c, d in rows)])[:most]
    await _delete(connection, [row[1:] for row in found], min(size, BYTES_AT_ONCE))


async def firsts(
    connection: aiosqlite.Connection, of: Iterable[int], start_ms: int, end_ms: int
) -> list[tuple[int, int]]:
    """Return the series that have rows in a window, with the start of the first, ascending."""
    numbers = ", ".join(str(source) for source in of)
    rows = await connection.execute_fetchall(
        "SELECT number, (SELECT start_ms FROM metrics WHERE source = s.number"
        " AND start_ms BETWEEN ? AND ? ORDER BY start_ms LIMIT 1) AS first"
        f" FROM metric_sources AS s WHERE number IN ({numbers}) AND first IS NOT NULL"
        " ORDER BY first",
        (start_ms, end_ms),
    )
    return [(int(source), int(first)) for source, first in rows]


async def delete_old(
    connection: aiosqlite.Connection, before_ms: int, most: int = ROWS_AT_ONCE
) -> int:
    """Delete the first `most` rows that were written before `before_ms`; return how many."""
    chosen = await connection.execute_fetchall(
        "SELECT number, source, taken FROM"
        " (SELECT * FROM metrics ORDER BY number LIMIT ?) WHERE recorded_ms < ?",
        (most, before_ms),
    )
    return await _delete(connection, chosen, BYTES_AT_ONCE)


async def delete_orphans(connection: aiosqlite.Connection, most: int = ROWS_AT_ONCE) -> int:
    """Delete up to `most` rows of deleted models; return how many."""
    found = await connection.execute_fetchall(
        "SELECT number FROM metric_sources WHERE model_id NOT IN (SELECT id FROM models) LIMIT 1"
    )
    for (source,) in found:
        chosen = await connection.execute_fetchall(
            "SELECT number, source, taken FROM metrics WHERE source = ? LIMIT ?", (source, most)
        )
        if gone := await _delete(connection, chosen, BYTES_AT_ONCE):
            return gone
        await connection.execute_fetchall("DELETE FROM metric_sources WHERE number = ?", (source,))
        return 1
    return 0


async def last_written_ms(connection: aiosqlite.Connection) -> int:
    """Return the time of the row that was written last; 0 if there is none."""
    ((latest,),) = await connection.execute_fetchall(
        "SELECT coalesce((SELECT recorded_ms FROM metrics ORDER BY number DESC LIMIT 1), 0)"
    )
    return int(latest)


async def _delete(
    connection: aiosqlite.Connection, chosen: Iterable[Iterable[int]], size: float
) -> int:
    """Delete the first of these rows (number, series, bytes) until `size` bytes are freed; return
    how many."""
    gone: list[int] = []
    of_source: dict[int, list[int]] = {}
    for number, source, taken in chosen:
        if size <= 0:
            break
        gone.append(number)
        of_source.setdefault(source, []).append(taken)
        size -= taken
    await connection.execute_fetchall(
        "DELETE FROM metrics WHERE number IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(gone).decode(),),
    )
    await connection.executemany(
        "UPDATE metric_sources SET row_count = row_count - ?, byte_count = byte_count - ?"
        " WHERE number = ?",
        [(len(sizes), sum(sizes), source) for source, sizes in of_source.items()],
    )
    return len(gone)
