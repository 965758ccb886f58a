"""Keys: what programs sign in with. Only hashes are stored, so a key is shown once."""

from collections.abc import Sequence

import aiosqlite

from store.records import Key, KeyKind
from store.tables.table import Table
from store.tables.users import users


class Keys(Table[Key]):
    async def delete_all(
        self, connection: aiosqlite.Connection, user_id: str, kinds: Sequence[KeyKind]
    ) -> list[Key]:
        """Delete all keys of a user that are of these kinds, and return them. Raises NotFound
        (user)."""
        await users.get(connection, user_id)
        deleted = [key for key in await self.list_all(connection, user_id) if key.kind in kinds]
        for key in deleted:
            await self.delete(connection, key.id)
        return deleted


keys = Keys("keys", Key, immutable=["kind", "user_id", "digest"], parent=(users, "user_id"))
