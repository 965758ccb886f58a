"""Sessions: browsers that are signed in. What they hold is kept as a hash."""

import aiosqlite

from store.records import Session
from store.tables import users
from store.tables.table import Table

_table = Table("sessions", Session, keeps=["user_id", "address", "agent", "by_link"])


async def insert(connection: aiosqlite.Connection, session: Session) -> Session:
    """Remember a new session. Raises NotFound (user)."""
    await users.get(connection, session.user_id)
    return await _table.insert(connection, session)


async def listing(connection: aiosqlite.Connection) -> list[Session]:
    """Return all sessions, ascending by creation, those that are over too."""
    return await _table.select(connection)


async def end(connection: aiosqlite.Connection, session_id: str) -> None:
    """Forget a session, if it is there still."""
    await connection.execute_fetchall("DELETE FROM sessions WHERE id = ?", (session_id,))


async def end_all(connection: aiosqlite.Connection, user_id: str) -> None:
    """Forget all sessions of a user."""
    await connection.execute_fetchall("DELETE FROM sessions WHERE user_id = ?", (user_id,))
