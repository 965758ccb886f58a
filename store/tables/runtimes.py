"""Runtimes: interpreters with packages, whose versions are numbered from 1 for each name."""

import aiosqlite
from msgspec.structs import replace

from store.errors import RuntimeInUse
from store.lifecycles import RUNTIME
from store.records import Runtime
from store.tables.table import LifecycleTable


class Runtimes(LifecycleTable[Runtime]):
    """A version is not used again while a build or an experiment names it."""

    async def insert(self, connection: aiosqlite.Connection, runtime: Runtime) -> Runtime:
        """Write a new runtime and return it with the next version of its name."""
        ((latest,),) = await connection.execute_fetchall(
            "SELECT coalesce(max(version), 0) FROM runtimes WHERE name = ?", (runtime.name,)
        )
        return await self._insert(connection, replace(runtime, version=latest + 1))

    async def delete(self, connection: aiosqlite.Connection, key: str) -> None:
        """Delete a runtime. Raises NotFound; RuntimeInUse if a build, an experiment or a project
        uses it."""
        runtime = await self.get(connection, key)
        for noun, column in (
            ("builds", "interpreter"),
            ("experiments", "interpreter"),
            ("projects", "runtime"),
        ):
            # Names of tables and columns from the line above, never from a user.
            ((users,),) = await connection.execute_fetchall(
                f"SELECT count(*) FROM {noun} WHERE {column} = ?", (runtime.identifier,)
            )
            if users:
                raise RuntimeInUse(runtime.identifier, noun, users)
        await super().delete(connection, key)


runtimes = Runtimes("runtimes", Runtime, RUNTIME, immutable=["name", "version", "creator"])
