"""Sessions: browsers that are signed in. The secret of a browser is stored as a hash."""

import aiosqlite

from store.records import Session
from store.tables.table import Table
from store.tables.users import users


class Sessions(Table[Session]):
    async def end(self, connection: aiosqlite.Connection, session_id: str) -> None:
        """Delete a session, if it is still there."""
        await connection.execute_fetchall("DELETE FROM sessions WHERE id = ?", (session_id,))

    async def end_all(self, connection: aiosqlite.Connection, user_id: str) -> None:
        """Delete all sessions of a user."""
        await connection.execute_fetchall("DELETE FROM sessions WHERE user_id = ?", (user_id,))


sessions = Sessions(
    "sessions",
    Session,
    immutable=["user_id", "address", "agent", "by_link"],
    parent=(users, "user_id"),
)
