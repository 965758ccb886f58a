"""The site: what is true of one data folder as a whole."""

import aiosqlite

from store.records import new_id


async def workspace_id(connection: aiosqlite.Connection) -> str:
    """Return the id of this data folder: made once, the same ever after. Needs a write."""
    rows = list(await connection.execute_fetchall("SELECT workspace_id FROM site"))
    if rows:
        return str(rows[0][0])
    made = new_id()
    await connection.execute("INSERT INTO site (workspace_id) VALUES (?)", (made,))
    return made
