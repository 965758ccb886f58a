"""Keys of users: made and shown once, listed, taken back at once."""

from datetime import UTC, datetime, timedelta

import msgspec
import trio

import store
from gateway.control.house import House
from gateway.control.users import FIRST
from gateway.errors import Refusal
from gateway.keyring import admin_key, load_secret, new_key
from store import Key, KeyKind, User

_YEAR = timedelta(days=365)
_COMMENT = 256


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `expires`: None for a year from now, "never", or a time."""

    kind: KeyKind
    comment: str = ""
    expires: datetime | None = None
    never: bool = False


class Keys:
    """All keys of all users."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def recover(self) -> None:
        """Lets in the keys there are, the admin key too; their users are known already."""
        first = self._house.directory.user(FIRST)
        assert first is not None
        text = await trio.to_thread.run_sync(load_secret, self._house.data.admin_key)
        self._house.directory.put_key(admin_key(text, first))
        for key in await self._house.database.read(store.keys.listing):
            self._house.directory.put_key(key)

    def of(self, user: User, kind: KeyKind) -> list[Key]:
        """Ascending by creation."""
        keys = self._house.directory.keys_of(user)
        return sorted((k for k in keys if k.kind == kind), key=lambda key: key.number)

    async def create(self, user: User, asked: NewKey) -> tuple[Key, str]:
        """The key as it is kept, and the text that nobody will see again. Raises Refusal."""
        now = datetime.now(UTC)
        expires = asked.expires or now + _YEAR
        if expires <= now:
            raise Refusal("argument.invalid", "expiry_date: it is in the past")
        if len(asked.comment) > _COMMENT or not asked.comment.isprintable():
            raise Refusal("argument.invalid", f"comment: give at most {_COMMENT} characters")
        made = new_key(asked.kind)
        key = Key(
            id=made.id,
            kind=asked.kind,
            user_id=user.id,
            digest=made.digest,
            comment=asked.comment,
            expires_at=None if asked.never else store.as_text(expires),
        )
        async with self._house.deciding:
            key = await self._house.database.write(store.keys.insert, key)
            self._house.directory.put_key(key)
        return key, made.text

    async def revoke(self, user: User, kind: KeyKind, key_id: str) -> None:
        """The key opens nothing from the return on. Raises NotFound."""
        if key_id not in [key.id for key in self.of(user, kind)]:
            raise store.NotFound("key", key_id)
        async with self._house.deciding:
            await self._house.database.write(store.keys.delete, key_id)
            self._house.directory.forget_key(key_id)

    async def revoke_all(self, user: User, kind: KeyKind) -> None:
        """As `revoke`, all of a user's keys of this kind."""
        async with self._house.deciding:
            for key in await self._house.database.write(store.keys.delete_all, user.id, [kind]):
                self._house.directory.forget_key(key.id)
