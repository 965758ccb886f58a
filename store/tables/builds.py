"""Builds: snapshots with their environments, numbered from 1 in each model.

A number is never used again, not even after its build was deleted.
"""

import aiosqlite

from store.errors import BuildInUse
from store.lifecycles import BUILD
from store.records import Build
from store.tables.models import models
from store.tables.table import LifecycleTable


class Builds(LifecycleTable[Build]):
    async def insert(self, connection: aiosqlite.Connection, build: Build) -> Build:
        """Write a new build and return it with its number. Raises NotFound (model)."""
        number = await models.take_build_number(connection, build.model_id)
        return await self._insert(connection, build, number=number)

    async def example(self, connection: aiosqlite.Connection, model_id: str) -> str | None:
        """Return the latest example input of the builds of a model, as JSON text."""
        rows = await connection.execute_fetchall(
            "SELECT example FROM builds WHERE model_id = ? AND example IS NOT NULL"
            " ORDER BY number DESC LIMIT 1",
            (model_id,),
        )
        return next((str(example) for (example,) in rows), None)

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
