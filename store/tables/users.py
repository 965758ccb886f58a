"""Users: whoever signs in. Their names are unique, whatever the case."""

import aiosqlite

from store.records import User
from store.tables.table import Table

_table = Table("users", User, keeps=[])


async def insert(connection: aiosqlite.Connection, user: User) -> User:
    """Remember a new user and return them with their number. Raises NameTaken."""
    return await _table.insert(connection, user)


async def get(connection: aiosqlite.Connection, user_id: str) -> User:
    """Return a user. Raises NotFound."""
    return await _table.get(connection, user_id)


async def listing(connection: aiosqlite.Connection) -> list[User]:
    """Return all users, ascending by creation."""
    return await _table.select(connection)


async def update(connection: aiosqlite.Connection, user_id: str, /, **changes: object) -> User:
    """Change fields of a user and return them. Raises NotFound, NameTaken."""
    return await _table.update(connection, user_id, changes)


async def delete(connection: aiosqlite.Connection, user_id: str) -> None:
    """Forget a user with their keys, sessions and memberships. Raises NotFound."""
    await _table.delete(connection, user_id)
