"""What was deleted: ids of projects, models, builds and experiments whose files may be left.

Triggers add each id in the transaction that deletes its row, also where the row goes with another
one. So files may be removed for an id in here, and not for one that merely has no row.
"""

from collections.abc import Iterable

import aiosqlite


async def listing(connection: aiosqlite.Connection) -> set[str]:
    """Return all ids of which files may be left."""
    return {str(each) for (each,) in await connection.execute_fetchall("SELECT id FROM deleted")}


async def forget(connection: aiosqlite.Connection, ids: Iterable[str]) -> None:
    """Say that no files of these are left."""
    await connection.executemany("DELETE FROM deleted WHERE id = ?", [(each,) for each in ids])
