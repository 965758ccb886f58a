"""Builds: snapshots with their environments, numbered from 1 in each model.

A number is never used again, not even after its build was deleted. The locks of builds are stored
once for equal environments, until the last build of one is deleted.
"""

from collections.abc import Sequence

import aiosqlite

from store.errors import BuildInUse
from store.lifecycles import BUILD
from store.records import Build, StoredLock
from store.tables.models import models
from store.tables.table import LifecycleTable


class Builds(LifecycleTable[Build]):
    async def insert(self, connection: aiosqlite.Connection, build: Build) -> Build:
        """Write a new build and return it with its number. Raises NotFound (model)."""
        number = await models.take_build_number(connection, build.model_id)
        return await self._insert(connection, build, number=number)

    async def examples(
        self, connection: aiosqlite.Connection, model_ids: Sequence[str]
    ) -> dict[str, tuple[str, str | None]]:
        """Return the example input and output of the latest build of each model that has an
        example input, as JSON texts."""
        rows = await connection.execute_fetchall(
            "SELECT model_id, example, example_output FROM builds WHERE id IN"
            " (SELECT (SELECT id FROM builds WHERE model_id = models.id"
            " AND example IS NOT NULL ORDER BY number DESC LIMIT 1)"
            f" FROM models WHERE id IN ({', '.join('?' * len(model_ids))}))",
            tuple(model_ids),
        )
        return {str(key): (str(example), output) for key, example, output in rows}

    async def latest_of(
        self, connection: aiosqlite.Connection, model_ids: Sequence[str]
    ) -> dict[str, Build]:
        """Return the latest build of each model that has one, by the id of the model."""
        found = await self.select(
            connection,
            "WHERE id IN (SELECT"
            " (SELECT id FROM builds WHERE model_id = models.id ORDER BY number DESC LIMIT 1)"
            f" FROM models WHERE id IN ({', '.join('?' * len(model_ids))}))",
            *model_ids,
        )
        return {build.model_id: build for build in found}

    async def finish(
        self,
        connection: aiosqlite.Connection,
        key: str,
        lock: StoredLock | None,
        /,
        **changes: object,
    ) -> Build:
        """Apply the event `built`, and store the lock of the build. Raises as `advance` does."""
        if lock is not None:
            await connection.execute_fetchall(
                "INSERT OR IGNORE INTO locks (id, text) VALUES (?, ?)", (lock.id, lock.text)
            )
            changes |= {"lock_id": lock.id, "packages": lock.packages}
        return await self._advance(connection, key, "built", changes)

    async def lock(self, connection: aiosqlite.Connection, build_id: str) -> str:
        """Return the text of a build's lock; "" where it has none, or no such build."""
        rows = await connection.execute_fetchall(
            "SELECT text FROM locks JOIN builds ON locks.id = lock_id WHERE builds.id = ?",
            (build_id,),
        )
        return next((str(text) for (text,) in rows), "")

    async def latest_created_at(self, connection: aiosqlite.Connection) -> str:
        """Return when the latest build was created; "" if there is none."""
        rows = await connection.execute_fetchall("SELECT max(created_at) FROM builds")
        return next((str(latest) for (latest,) in rows if latest), "")

    async def delete(self, connection: aiosqlite.Connection, build_id: str) -> None:
        """Delete a build. Its deployments stay as history. Raises NotFound, BuildInUse."""
        build = await self.get(connection, build_id)
        users = await connection.execute_fetchall(
            "SELECT number FROM deployments"
            " WHERE build_id = ? AND (wanted = 'serve' OR status = 'stopping') ORDER BY number",
            (build_id,),
        )
        if users:
            raise BuildInUse(build.number, [number for (number,) in users])
        await super().delete(connection, build_id)


builds = Builds(
    "builds", Build, BUILD, immutable=["model_id", "creator"], parent=(models, "model_id")
)
