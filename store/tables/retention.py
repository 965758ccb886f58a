"""What goes of the metrics, and when: for lack of room, for their age, with their model.

Laws. What is there never takes more than the limit after a transaction that writes (`make_room`).
What goes for lack of room is of the project that has most, the first to start first, and no more of
it than is missing. What goes for its age goes by the time that its row was given, which does not
follow a jump of the clock (`gateway/control/metrics/retention_clock.py`). Each transaction takes a
bounded number of rows and bytes away, so other writers wait for milliseconds.

Deleted rows leave free pages in the file, which `Database.give_back` takes from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

import aiosqlite
import msgspec

# Of one transaction: so many rows at most, or of so many bytes, or one.
ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 4 * 1024 * 1024

# SQLite's file format (https://www.sqlite.org/fileformat2.html): a leaf has a page of 4096 bytes
# but its header; of a row that is longer than LONGEST bytes, the rest lies on pages of its own.
_PAGE, _LEAF, _LONGEST, _SHORTEST, _OVERFLOW = 4096, 4088, 4061, 489, 4092
# Of a row beside its text: its columns; its entries in two indices.
_COLUMNS, _INDICES = 40, 60

# No row starts later.
_LAST = 2**62


def taken_by(text: str) -> int:
    """How many bytes a row with this text takes in the file, where all are as long (gotcha G12)."""
    size = _COLUMNS + (len(text) if text.isascii() else len(text.encode()))
    pages = 0
    if size > _LONGEST:
        local = _SHORTEST + (size - _SHORTEST) % _OVERFLOW
        local = local if local <= _LONGEST else _SHORTEST
        pages, size = -(-(size - local) // _OVERFLOW), local
    return _INDICES + pages * _PAGE + _PAGE // (_LEAF // size)


async def make_room(
    connection: aiosqlite.Connection,
    wanted: Mapping[str, int],
    limit: int,
    most: int = ROWS_AT_ONCE,
) -> bool:
    """Forget up to `most` rows where all that is there and `wanted`, in bytes by the ids of
    deployments, take more than `limit`. Return whether all of it fits then.

    Who asks again and again gets it. Raises ValueError where more than `limit` is wanted.
    """
    if sum(wanted.values()) > limit:
        raise ValueError(f"{sum(wanted.values()):,} bytes never fit into {limit:,}")
    missing = await _total(connection) + sum(wanted.values()) - limit
    if missing <= 0:
        return True
    if not await delete_orphans(connection, most):
        await _forget_of_one(connection, wanted, limit, missing, most)
    return await _total(connection) + sum(wanted.values()) <= limit


async def _total(connection: aiosqlite.Connection) -> int:
    ((size,),) = await connection.execute_fetchall(
        "SELECT coalesce(sum(byte_count), 0) FROM metric_sources"
    )
    return int(size)


async def _forget_of_one(
    connection: aiosqlite.Connection,
    wanted: Mapping[str, int],
    limit: int,
    missing: int,
    most: int,
) -> None:
    """Forget rows of the project that has most, what it wants counted in, down to its share."""
    there = {
        str(project): int(taken)
        for project, taken in await connection.execute_fetchall(
            "SELECT m.project_id, sum(s.byte_count) FROM metric_sources AS s"
            " JOIN models AS m ON m.id = s.model_id GROUP BY m.project_id"
        )
    }
    coming = dict(there)
    for project, deployment in await connection.execute_fetchall(
        "SELECT project_id, id FROM deployments WHERE id IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(list(wanted)).decode(),),
    ):
        coming[str(project)] = coming.get(str(project), 0) + wanted[str(deployment)]
    # One that has nothing cannot lose anything, however much it wants.
    largest = max((each for each in there if there[each] > 0), key=lambda each: coming[each])
    above = coming[largest] - fair_share(coming.values(), limit)
    of_project = await connection.execute_fetchall(
        "SELECT s.number FROM metric_sources AS s JOIN models AS m ON m.id = s.model_id"
        " WHERE m.project_id = ? AND s.row_count > 0",
        (largest,),
    )
    numbers = [int(number) for (number,) in of_project]
    await _forget_first(connection, numbers, above if above > 0 else missing, most)


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
) -> None:
    """Forget the first rows of some sources by start, `most` of them or those of `size` bytes."""
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
    await _forget(connection, [row[1:] for row in found], min(size, BYTES_AT_ONCE))


async def firsts(
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


async def delete_old(
    connection: aiosqlite.Connection, before_ms: int, most: int = ROWS_AT_ONCE
) -> int:
    """Forget rows that were written before then, the first `most`; return how many."""
    chosen = await connection.execute_fetchall(
        "SELECT number, source, taken FROM"
        " (SELECT * FROM metrics ORDER BY number LIMIT ?) WHERE recorded_ms < ?",
        (most, before_ms),
    )
    return await _forget(connection, chosen, BYTES_AT_ONCE)


async def delete_orphans(connection: aiosqlite.Connection, most: int = ROWS_AT_ONCE) -> int:
    """Forget rows of models that were deleted, `most` of them; return how many."""
    found = await connection.execute_fetchall(
        "SELECT number FROM metric_sources WHERE model_id NOT IN (SELECT id FROM models) LIMIT 1"
    )
    for (source,) in found:
        chosen = await connection.execute_fetchall(
            "SELECT number, source, taken FROM metrics WHERE source = ? LIMIT ?", (source, most)
        )
        if gone := await _forget(connection, chosen, BYTES_AT_ONCE):
            return gone
        await connection.execute_fetchall("DELETE FROM metric_sources WHERE number = ?", (source,))
        return 1
    return 0


async def last_written_ms(connection: aiosqlite.Connection) -> int:
    """Return the time of the row that was written last; 0: there is none."""
    ((latest,),) = await connection.execute_fetchall(
        "SELECT coalesce((SELECT recorded_ms FROM metrics ORDER BY number DESC LIMIT 1), 0)"
    )
    return int(latest)


async def _forget(
    connection: aiosqlite.Connection, chosen: Iterable[Iterable[int]], size: float
) -> int:
    """Forget the first of these rows (number, source, bytes) until `size` bytes are gone; return
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
