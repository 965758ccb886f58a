"""Ids of deleted projects, models, builds and experiments whose files may still exist.

Triggers add an id in the transaction that deletes its row, also where another deletion cascades to
the row. Files may be removed for an id in this table, not for an id that merely has no row.
"""

from collections.abc import Iterable

import aiosqlite


async def list_all(connection: aiosqlite.Connection) -> set[str]:
    """Return all ids whose files may still exist."""
    return {str(each) for (each,) in await connection.execute_fetchall("SELECT id FROM deleted")}


async def delete(connection: aiosqlite.Connection, ids: Iterable[str]) -> None:
    """Record that no files of these ids exist any more."""
    await connection.executemany("DELETE FROM deleted WHERE id = ?", [(each,) for each in ids])
