"""Experiments: scripts that run once, numbered across the server, and the metrics they tracked."""

from collections.abc import Sequence

import aiosqlite
import msgspec

from store.lifecycles import EXPERIMENT
from store.records import Experiment, RunMetric, now
from store.tables.projects import projects
from store.tables.table import LifecycleTable


class Experiments(LifecycleTable[Experiment]):
    """Deleting an experiment deletes what it tracked."""

    async def start(self, connection: aiosqlite.Connection, experiment_id: str) -> Experiment:
        """Record that the script has started. Raises NotFound, IllegalTransition."""
        return await self._advance(connection, experiment_id, "started", {}, {"started_at": now()})

    async def end(
        self,
        connection: aiosqlite.Connection,
        experiment_id: str,
        event: str,
        points: Sequence[RunMetric] = (),
        /,
        **changes: object,
    ) -> Experiment:
        """Record how the experiment ended and what it tracked; return it.

        Raises NotFound; IllegalTransition, with nothing changed.
        """
        latest = {point.key: point.value for point in points}
        ended = await self._advance(
            connection, experiment_id, event, {**changes, "metrics": latest}, {"ended_at": now()}
        )
        await connection.executemany(
            "INSERT INTO points (experiment_id, position, key, value, time) VALUES (?, ?, ?, ?, ?)",
            [
                (experiment_id, position, p.key, msgspec.json.encode(p.value).decode(), p.time)
                for position, p in enumerate(points)
            ],
        )
        return ended

    async def points(self, connection: aiosqlite.Connection, experiment_id: str) -> list[RunMetric]:
        """Return what an experiment tracked, in its order; empty until it has ended."""
        rows = await connection.execute_fetchall(
            "SELECT key, value, time FROM points WHERE experiment_id = ? ORDER BY position",
            (experiment_id,),
        )
        return [
            RunMetric(key=key, value=msgspec.json.decode(value), time=time)
            for key, value, time in rows
        ]


experiments = Experiments(
    "experiments",
    Experiment,
    EXPERIMENT,
    immutable=["project_id", "creator", "started_at", "ended_at"],
    parent=(projects, "project_id"),
)
