"""Experiments: scripts that were run once, numbered across the server, and what they tracked."""

from collections.abc import Sequence

import aiosqlite
import msgspec

from store.lifecycles import EXPERIMENT
from store.records import Experiment, Point, now
from store.tables import projects
from store.tables.table import LifecycleTable

_table = LifecycleTable(
    "experiments", Experiment, EXPERIMENT, keeps=["project_id", "creator", "started_at", "ended_at"]
)


async def insert(connection: aiosqlite.Connection, experiment: Experiment) -> Experiment:
    """Remember a new experiment and return it with its number. Raises NotFound (project)."""
    await projects.get(connection, experiment.project_id)
    return await _table.insert(connection, experiment)


async def get(connection: aiosqlite.Connection, experiment_id: str) -> Experiment:
    """Return an experiment. Raises NotFound."""
    return await _table.get(connection, experiment_id)


async def listing(
    connection: aiosqlite.Connection, project_id: str | None = None
) -> list[Experiment]:
    """Return the experiments of a project, or all of them, ascending by number."""
    if project_id is None:
        return await _table.select(connection)
    return await _table.select(connection, "WHERE project_id = ? ORDER BY number", project_id)


async def unfinished(connection: aiosqlite.Connection) -> list[Experiment]:
    """Return the experiments of all projects that have not come to an end, ascending by number."""
    return await _table.unfinished(connection)


async def name(connection: aiosqlite.Connection, environment_id: str) -> bool:
    """Whether any experiment names this environment."""
    rows = await connection.execute_fetchall(
        "SELECT 1 FROM experiments WHERE environment_id = ? LIMIT 1", (environment_id,)
    )
    return bool(list(rows))


async def update(
    connection: aiosqlite.Connection, experiment_id: str, /, **changes: object
) -> Experiment:
    """Change fields of an experiment and return it. Raises NotFound."""
    return await _table.update(connection, experiment_id, changes)


async def start(connection: aiosqlite.Connection, experiment_id: str) -> Experiment:
    """Say that its script runs now. Raises NotFound; IllegalTransition, with nothing changed."""
    return await _table.advance(
        connection, experiment_id, "started", {}, given={"started_at": now()}
    )


async def end(
    connection: aiosqlite.Connection,
    experiment_id: str,
    event: str,
    points: Sequence[Point] = (),
    /,
    **changes: object,
) -> Experiment:
    """Say how it ended, and what it tracked; return it.

    Raises NotFound; IllegalTransition, with nothing changed.
    """
    latest = {point.key: point.value for point in points}
    ended = await _table.advance(
        connection, experiment_id, event, {**changes, "metrics": latest}, given={"ended_at": now()}
    )
    await connection.executemany(
        "INSERT INTO points (experiment_id, position, key, value, time) VALUES (?, ?, ?, ?, ?)",
        [
            (experiment_id, position, p.key, msgspec.json.encode(p.value).decode(), p.time)
            for position, p in enumerate(points)
        ],
    )
    return ended


async def points(connection: aiosqlite.Connection, experiment_id: str) -> list[Point]:
    """Return what an experiment that has ended tracked, in its order."""
    rows = await connection.execute_fetchall(
        "SELECT key, value, time FROM points WHERE experiment_id = ? ORDER BY position",
        (experiment_id,),
    )
    return [
        Point(key=key, value=msgspec.json.decode(value), time=time) for key, value, time in rows
    ]


async def delete(connection: aiosqlite.Connection, experiment_id: str) -> None:
    """Forget an experiment and what it tracked. Raises NotFound."""
    await _table.delete(connection, experiment_id)
