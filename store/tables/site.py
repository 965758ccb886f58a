"""The site: what is true of one data folder as a whole, and its settings."""

from collections.abc import Iterable, Mapping
from typing import Any

import aiosqlite
import msgspec

from store.records import new_id


class Generation(msgspec.Struct, frozen=True):
    """Which database of which data folder it is: `number` grows, `workspace_id` stays."""

    workspace_id: str
    number: int


async def workspace_id(connection: aiosqlite.Connection) -> str:
    """Return the id of this data folder: made once, the same ever after. Needs a write."""
    rows = list(await connection.execute_fetchall("SELECT workspace_id FROM site"))
    if rows:
        return str(rows[0][0])
    made = new_id()
    await connection.execute("INSERT INTO site (workspace_id) VALUES (?)", (made,))
    return made


async def generation(connection: aiosqlite.Connection) -> Generation:
    """Return how far it has come, also of a database with an older schema, or with none."""
    columns = await connection.execute_fetchall("PRAGMA table_info(site)")
    if "generation" not in [str(each[1]) for each in columns]:
        return Generation("", 0)
    rows = await connection.execute_fetchall("SELECT workspace_id, generation FROM site")
    return next((Generation(str(each[0]), int(each[1])) for each in rows), Generation("", 0))


async def advance_generation(connection: aiosqlite.Connection) -> Generation:
    """Move on to the next generation, and return it."""
    await workspace_id(connection)
    await connection.execute("UPDATE site SET generation = generation + 1")
    return await generation(connection)


async def settings(connection: aiosqlite.Connection) -> dict[str, Any]:
    """Return what was set at run time: name and value, as JSON has it."""
    rows = await connection.execute_fetchall("SELECT name, value FROM site_settings ORDER BY name")
    return {str(name): msgspec.json.decode(value) for name, value in rows}


async def set_settings(connection: aiosqlite.Connection, values: Mapping[str, Any]) -> None:
    """Remember these values, over those that there were."""
    await connection.executemany(
        "INSERT OR REPLACE INTO site_settings (name, value) VALUES (?, ?)",
        [(name, msgspec.json.encode(value).decode()) for name, value in values.items()],
    )


async def delete_settings(connection: aiosqlite.Connection, names: Iterable[str]) -> None:
    """Forget the values of these, where there are any."""
    await connection.executemany(
        "DELETE FROM site_settings WHERE name = ?", [(name,) for name in names]
    )
