"""The history of a model: one point for each 10 s, and merged ones for each minute and each 15 min.

Laws. A point of a coarse step has all the finer ones of its time, and is written once all of these
are. So a reader takes the coarse points first and continues with finer ones where they end: each
request counts once. Each step is kept for a time of its own (`KEPT`), so the rows of a model are
bounded. A repeated roll-up changes nothing.

How two points merge is the caller's: a point is text here. Times are whole seconds of Unix time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import aiosqlite

FINEST, MINUTE, QUARTER = 10, 60, 900
STEPS = (FINEST, MINUTE, QUARTER)
# How long points are kept, in seconds: the window of their step, and until they are rolled up.
KEPT = {FINEST: 3600 + 1800, MINUTE: 86_400 + 1800, QUARTER: 14 * 86_400 + 1800}

Merge = Callable[[Sequence[str]], str]


class StoredPoint(NamedTuple):
    at: int
    data: str


async def append(
    connection: aiosqlite.Connection, at: int, points: Mapping[str, str], merge: Merge
) -> None:
    """Write the finest points that begin at `at`, by the ids of their models. A point that is there
    already, as after a restart or a step of the clock, is merged. Those of deleted models are not
    written."""
    for model_id, data in points.items():
        rows = await connection.execute_fetchall(
            "SELECT data FROM history WHERE model_id = ? AND step = ? AND at = ?",
            (model_id, FINEST, at),
        )
        merged = merge([*(str(row[0]) for row in rows), data]) if rows else data
        await connection.execute_fetchall(
            "INSERT OR REPLACE INTO history (model_id, step, at, data)"
            " SELECT id, ?, ?, ? FROM models WHERE id = ?",
            (FINEST, at, merged, model_id),
        )


async def roll_up(
    connection: aiosqlite.Connection, model_ids: Sequence[str], now: int, merge: Merge
) -> None:
    """Merge the points of each minute and each quarter of an hour that has ended."""
    for model_id in model_ids:
        for fine, coarse in ((FINEST, MINUTE), (MINUTE, QUARTER)):
            await _roll_up(connection, model_id, fine, coarse, now - now % coarse, merge)


async def _roll_up(
    connection: aiosqlite.Connection, model_id: str, fine: int, coarse: int, end: int, merge: Merge
) -> None:
    ((last,),) = await connection.execute_fetchall(
        "SELECT max(at) FROM history WHERE model_id = ? AND step = ?", (model_id, coarse)
    )
    start = last + coarse if last is not None else 0
    rows = await connection.execute_fetchall(
        "SELECT at, data FROM history WHERE model_id = ? AND step = ? AND at >= ? AND at < ?"
        " ORDER BY at",
        (model_id, fine, start, end),
    )
    groups: dict[int, list[str]] = {}
    for at, data in rows:
        groups.setdefault(int(at) // coarse * coarse, []).append(str(data))
    await connection.executemany(
        "INSERT OR REPLACE INTO history (model_id, step, at, data) VALUES (?, ?, ?, ?)",
        [(model_id, coarse, at, merge(group)) for at, group in groups.items()],
    )


async def delete_old(connection: aiosqlite.Connection, model_ids: Sequence[str], now: int) -> None:
    """Delete the points of these models that are no longer kept."""
    await connection.executemany(
        "DELETE FROM history WHERE model_id = ? AND step = ? AND at < ?",
        [(model_id, step, now - KEPT[step]) for model_id in model_ids for step in STEPS],
    )


async def window(
    connection: aiosqlite.Connection, model_id: str, start: int, step: int
) -> list[StoredPoint]:
    """Return the points of a model from `start` on, none coarser than `step`, ascending."""
    found: list[StoredPoint] = []
    for each in reversed([each for each in STEPS if each <= step]):
        rows = await connection.execute_fetchall(
            "SELECT at, data FROM history WHERE model_id = ? AND step = ? AND at >= ? ORDER BY at",
            (model_id, each, start),
        )
        found += [StoredPoint(int(at), str(data)) for at, data in rows]
        if rows:
            start = found[-1].at + each
    return found
