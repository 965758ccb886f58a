"""Sessions: browsers that are signed in. What they hold is kept as a hash."""

import aiosqlite

from store import users
from store.records import Session, now
from store.table import Table

_table = Table("sessions", Session, keeps=["user_id", "address", "agent"])


async def insert(connection: aiosqlite.Connection, session: Session) -> Session:
    """Remember a new session, and forget those that are over. Raises NotFound (user)."""
    await users.get(connection, session.user_id)
    await connection.execute_fetchall("DELETE FROM sessions WHERE expires_at <= ?", (now(),))
    return await _table.insert(connection, session)


async def find(connection: aiosqlite.Connection, session_id: str) -> Session | None:
    """Return a session that is not over, if there is one."""
    return await _table.find(connection, "id = ? AND expires_at > ?", session_id, now())


async def listing(connection: aiosqlite.Connection, user_id: str) -> list[Session]:
    """Return a user's sessions, ascending by creation."""
    return await _table.select(connection, "WHERE user_id = ? ORDER BY number", user_id)


async def delete(connection: aiosqlite.Connection, session_id: str) -> None:
    """Forget a session. Raises NotFound."""
    await _table.delete(connection, session_id)


async def delete_all(connection: aiosqlite.Connection, user_id: str, but: str = "") -> None:
    """Forget all sessions of a user, but for the one with this id."""
    await connection.execute_fetchall(
        "DELETE FROM sessions WHERE user_id = ? AND id <> ?", (user_id, but)
    )
