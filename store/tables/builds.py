"""Builds: snapshots with their environments, numbered from 1 in each model.

A build's number is never given again, not even after the build was deleted.
"""

import aiosqlite

from store.errors import BuildInUse
from store.lifecycles import BUILD
from store.records import Build
from store.tables import models
from store.tables.table import LifecycleTable

_table = LifecycleTable("builds", Build, BUILD, keeps=["model_id", "creator"])


async def insert(connection: aiosqlite.Connection, build: Build) -> Build:
    """Remember a new build and return it with its number. Raises NotFound (model)."""
    number = await models.take_build_number(connection, build.model_id)
    return await _table.insert(connection, build, number=number)


async def get(connection: aiosqlite.Connection, build_id: str) -> Build:
    """Return a build. Raises NotFound."""
    return await _table.get(connection, build_id)


async def listing(connection: aiosqlite.Connection, model_id: str) -> list[Build]:
    """Return the builds of a model, ascending by number."""
    return await _table.select(connection, "WHERE model_id = ? ORDER BY number", model_id)


async def example(connection: aiosqlite.Connection, model_id: str) -> str | None:
    """Return the latest example input given with a build of the model, as JSON text."""
    rows = await connection.execute_fetchall(
        "SELECT example FROM builds WHERE model_id = ? AND example IS NOT NULL"
        " ORDER BY number DESC LIMIT 1",
        (model_id,),
    )
    return next((str(example) for (example,) in rows), None)


async def unfinished(connection: aiosqlite.Connection) -> list[Build]:
    """Return the builds of all models that have not come to an end, ascending by creation."""
    return await _table.unfinished(connection)


async def advance(
    connection: aiosqlite.Connection, build_id: str, event: str, /, **changes: object
) -> Build:
    """Let an event of the BUILD table happen, with changes that go with it; return the build.

    Raises NotFound; IllegalTransition, with nothing changed.
    """
    return await _table.advance(connection, build_id, event, changes)


async def delete(connection: aiosqlite.Connection, build_id: str) -> None:
    """Forget a build; its deployments stay as history. Raises NotFound, BuildInUse."""
    build = await _table.get(connection, build_id)
    users = await connection.execute_fetchall(
        "SELECT number FROM deployments"
        " WHERE build_id = ? AND (wanted = 'serve' OR status = 'stopping') ORDER BY number",
        (build_id,),
    )
    if users:
        raise BuildInUse(build.number, [number for (number,) in users])
    await _table.delete(connection, build_id)
