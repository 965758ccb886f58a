"""Keys of users: made and shown once, listed, revoked at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import trio

import store
from gateway.control.accounts.users import ADMIN_USER
from gateway.control.permission_changes import PermissionChanges, PermissionIndex
from gateway.errors import Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.grants import Principal
from gateway.identity.keys import admin_key, new_key
from gateway.identity.secret_file import read_secret
from store import Database, Key, KeyKind, User

_YEAR = timedelta(days=365)
_COMMENT = 256
# Of one user, of all kinds: all are in memory.
MOST_KEYS = 1000


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `expires`: None for a year from now, "never", or a time."""

    kind: KeyKind
    comment: str = ""
    expires: datetime | None = None
    never: bool = False


class Keys:
    """All keys of all users."""

    def __init__(
        self,
        *,
        database: Database,
        accounts: Accounts,
        permissions: PermissionChanges,
        admin_key_file: Path,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._permissions = permissions
        self._admin_key_file = admin_key_file

    async def recover(self) -> None:
        """Loads all keys into memory, the admin key too. Their users are loaded already."""
        admin = self._accounts.user(ADMIN_USER)
        assert admin is not None
        text = await trio.to_thread.run_sync(read_secret, self._admin_key_file)
        for key in [admin_key(text, admin), *await self._database.read(store.keys.list_all)]:
            self._permissions.apply_unwritten(PermissionIndex.key_added, key)

    def of(self, user: User, kind: KeyKind) -> list[Key]:
        """Ascending by creation."""
        keys = self._accounts.keys_of(user)
        return sorted((k for k in keys if k.kind == kind), key=lambda key: key.number)

    async def create(self, user: User, asked: NewKey, maker: Principal) -> tuple[Key, str]:
        """The key as it is kept, and its text, which is not shown again.

        A key does not outlive the key that it is made with: else its end would have no effect.
        Raises Refusal.
        """
        expires = _expiry(asked, datetime.now(UTC), self._accounts.key_ends(maker))
        if len(asked.comment) > _COMMENT or not asked.comment.isprintable():
            raise Refusal("argument.invalid", f"comment: give at most {_COMMENT} characters")
        made = new_key(asked.kind)
        key = Key(
            id=made.id,
            kind=asked.kind,
            user_id=user.id,
            digest=made.digest,
            comment=asked.comment,
            expires_at=None if expires is None else store.as_text(expires),
        )

        def check() -> None:
            # What ends the user or the maker from here on waits, and then finds the key.
            if not self._accounts.is_live(maker):
                raise Refusal("auth.required", f"the {maker.by} has ended since the request came")
            if self._accounts.user_of(user.id) is None:
                raise store.NotFound("user", user.name)
            if len(self._accounts.keys_of(user)) >= MOST_KEYS:
                text = f"{user.name} has {MOST_KEYS} keys: revoke those that are not used any more"
                raise Refusal("state.conflict", text)

        kept = await self._permissions.apply(
            lambda connection: store.keys.insert(connection, key),
            PermissionIndex.key_added,
            check=check,
        )
        return kept, made.text

    async def revoke(self, user: User, kind: KeyKind, key_id: str) -> None:
        """The key gives no access from the return on. Raises NotFound."""
        if key_id not in [key.id for key in self.of(user, kind)]:
            raise store.NotFound("key", key_id)
        await self._permissions.apply(
            lambda connection: store.keys.delete(connection, key_id),
            lambda index, _: index.key_revoked(key_id),
        )

    async def revoke_all(self, user: User, kind: KeyKind) -> None:
        """As `revoke`, all of a user's keys of this kind."""
        await self._permissions.apply(
            lambda connection: store.keys.delete_all(connection, user.id, [kind]),
            PermissionIndex.keys_revoked,
        )


def _expiry(asked: NewKey, now: datetime, most: datetime | None) -> datetime | None:
    """When a key ends that is asked for now; None: never. `most` is when the key ends that it is
    made with. Raises Refusal."""
    if asked.expires is not None and asked.expires <= now:
        raise Refusal("argument.invalid", "expiry_date: it is in the past")
    if most is None:
        return None if asked.never else asked.expires or now + _YEAR
    if asked.never or (asked.expires is not None and asked.expires > most):
        text = f"expiry_date: a key made with one that ends at {store.as_text(most)} ends by then"
        raise Refusal("argument.invalid", text)
    return asked.expires or min(now + _YEAR, most)
