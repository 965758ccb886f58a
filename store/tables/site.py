"""The data folder as a whole: its id, its generation, and settings changed at run time."""

from collections.abc import Iterable, Mapping
from typing import Any

import aiosqlite
import msgspec

from store.records import new_id


class Generation(msgspec.Struct, frozen=True):
    """The state of a data folder's database: `number` grows, `workspace_id` stays."""

    workspace_id: str
    number: int


async def workspace_id(connection: aiosqlite.Connection) -> str:
    """Return the id of this data folder, created at the first call. Needs a write."""
    rows = list(await connection.execute_fetchall("SELECT workspace_id FROM site"))
    if rows:
        return str(rows[0][0])
    made = new_id()
    await connection.execute("INSERT INTO site (workspace_id) VALUES (?)", (made,))
    return made


async def generation(connection: aiosqlite.Connection) -> Generation:
    """Return the generation, also of a database with an older schema or with none."""
    columns = await connection.execute_fetchall("PRAGMA table_info(site)")
    if "generation" not in [str(each[1]) for each in columns]:
        return Generation("", 0)
    rows = await connection.execute_fetchall("SELECT workspace_id, generation FROM site")
    return next((Generation(str(each[0]), int(each[1])) for each in rows), Generation("", 0))


async def advance_generation(connection: aiosqlite.Connection) -> Generation:
    """Advance to the next generation and return it."""
    await workspace_id(connection)
    await connection.execute("UPDATE site SET generation = generation + 1")
    return await generation(connection)


async def settings(connection: aiosqlite.Connection) -> dict[str, Any]:
    """Return the settings changed at run time: names and JSON values."""
    rows = await connection.execute_fetchall("SELECT name, value FROM site_settings ORDER BY name")
    return {str(name): msgspec.json.decode(value) for name, value in rows}


async def set_settings(connection: aiosqlite.Connection, values: Mapping[str, Any]) -> None:
    """Store these values, in place of earlier ones."""
    await connection.executemany(
        "INSERT OR REPLACE INTO site_settings (name, value) VALUES (?, ?)",
        [(name, msgspec.json.encode(value).decode()) for name, value in values.items()],
    )


async def delete_settings(connection: aiosqlite.Connection, names: Iterable[str]) -> None:
    """Delete the values of these settings."""
    await connection.executemany(
        "DELETE FROM site_settings WHERE name = ?", [(name,) for name in names]
    )
