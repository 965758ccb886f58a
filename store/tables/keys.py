"""Keys: what programs sign in with. Only hashes are kept, so a key is shown once."""

from collections.abc import Sequence

import aiosqlite

from store.records import Key, KeyKind
from store.tables import users
from store.tables.table import Table

_table = Table("keys", Key, keeps=["kind", "user_id", "digest"])


async def insert(connection: aiosqlite.Connection, key: Key) -> Key:
    """Remember a new key and return it with its number. Raises NotFound (user)."""
    await users.get(connection, key.user_id)
    return await _table.insert(connection, key)


async def get(connection: aiosqlite.Connection, key_id: str) -> Key:
    """Return a key. Raises NotFound."""
    return await _table.get(connection, key_id)


async def listing(connection: aiosqlite.Connection, user_id: str | None = None) -> list[Key]:
    """Return the keys of a user, or all of them, ascending by creation."""
    if user_id is None:
        return await _table.select(connection)
    return await _table.select(connection, "WHERE user_id = ? ORDER BY number", user_id)


async def delete(connection: aiosqlite.Connection, key_id: str) -> None:
    """Forget a key. Raises NotFound."""
    await _table.delete(connection, key_id)


async def delete_all(
    connection: aiosqlite.Connection, user_id: str, kinds: Sequence[KeyKind]
) -> list[Key]:
    """Forget all of a user's keys of these kinds; return what they were. Raises NotFound (user)."""
    await users.get(connection, user_id)
    deleted = [key for key in await listing(connection, user_id) if key.kind in kinds]
    for key in deleted:
        await _table.delete(connection, key.id)
    return deleted
