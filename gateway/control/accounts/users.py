"""Users: created, changed, disabled, deleted. `password_hashing.py` hashes their passwords."""

from typing import Any

import aiosqlite
import msgspec

import store
from gateway.control.accounts.password_hashing import PasswordHashing
from gateway.control.permission_changes import PermissionChanges, PermissionIndex
from gateway.errors import Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.passwords import new_password
from store import Database, User

# Who can read the data folder acts as this user, the first one.
ADMIN_USER = "admin"
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024  # hashing more would be work that a client could cause
_NAME = "-_.@"


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """A request. Without a `password` the user gets a random one, to be changed."""

    name: str
    full_name: str = ""
    email: str = ""
    password: str = ""
    administrator: bool = False


class Users:
    """All users."""

    def __init__(
        self,
        *,
        database: Database,
        accounts: Accounts,
        permissions: PermissionChanges,
        hashing: PasswordHashing,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._permissions = permissions
        self._hashing = hashing

    async def recover(self, *, make_password: bool) -> str:
        """Loads all users into memory. The first start makes the first user; returns a password for
        them if `make_password`."""
        users = await self._database.read(store.users.list_all)
        password = ""
        if not users:
            password = new_password() if make_password else ""
            first = User(
                name=ADMIN_USER,
                full_name="Site administrator",
                administrator=True,
                must_change_password=True,
                password=await self._hashed(password) if password else "",
            )
            users = [await self._database.write(store.users.insert, first)]
        for user in users:
            self._permissions.apply_unwritten(PermissionIndex.user_changed, user)
        return password

    def get(self, name: str) -> User:
        """The user of this name, in any case. Raises NotFound."""
        user = self._accounts.user(name)
        if user is None:
            raise store.NotFound("user", name)
        return user

    async def create(self, asked: NewUser) -> tuple[User, str]:
        """The user, and the password that was generated, if one was. Raises NameTaken, or
        Refusal("argument.invalid")."""
        check_user_name(asked.name)
        made = "" if asked.password else new_password()
        facts = msgspec.structs.asdict(asked)
        if asked.password:
            check_password(asked.password)
        user = User(
            **facts
            | {"password": await self._hashed(asked.password or made)}
            | {"must_change_password": bool(made)}
        )
        kept = await self._permissions.apply(
            lambda connection: store.users.insert(connection, user), PermissionIndex.user_changed
        )
        return kept, made

    async def update(self, user: User, changes: dict[str, Any]) -> User:
        """Changes the full name, e-mail, `administrator` or `disabled`. Raises Refusal."""
        if user.name == ADMIN_USER and (
            changes.get("disabled") or not changes.get("administrator", 1)
        ):
            raise Refusal(
                "state.conflict",
                f"user {ADMIN_USER!r} acts for the data folder and cannot be disabled or demoted",
            )
        return await self._permissions.apply(
            lambda connection: _update(connection, user.id, changes), PermissionIndex.user_changed
        )

    async def set_password(self, user: User, password: str, *, must_change: bool) -> User:
        """Sets the password and ends every session of the user; "": they cannot sign in by a
        password. Raises Refusal("argument.invalid")."""
        if password:
            check_password(password)
        hashed = await self._hashed(password) if password else ""
        return await self._permissions.apply(
            lambda connection: _set_password(connection, user.id, hashed, must_change),
            PermissionIndex.password_changed,
        )

    async def is_password(
        self, user: User | None, password: str, network: str, *, known: bool
    ) -> bool:
        """Whether it is the user's password. `known` says whether the user has signed in from the
        network before. Takes as long for None. Raises Refusal("auth.throttled")."""
        kept = user.password if user is not None else ""
        return await self._hashing.fits(password[:LONGEST_PASSWORD], kept, network, known=known)

    async def rehash_if_outdated(self, user: User, password: str) -> User:
        """The user, whose right password this is. If its hash was made with weaker parameters than
        are advised today, it is hashed again; sessions stay."""
        if not self._hashing.passwords.is_outdated(user.password):
            return user
        hashed = await self._hashed(password[:LONGEST_PASSWORD])
        try:
            changed = await self._permissions.apply(
                lambda connection: _rehash(connection, user, hashed), PermissionIndex.user_changed
            )
        except store.NotFound:  # deleted since then
            return user
        # With another password since then, this one is not the user's any more.
        return changed if changed.password == hashed else user

    async def delete(self, user: User) -> None:
        """Deletes a user with all keys. Raises Refusal if a project would have no owner."""
        if user.name == ADMIN_USER:
            raise Refusal(
                "state.conflict",
                f"user {ADMIN_USER!r} acts for the data folder and cannot be deleted",
            )
        await self._permissions.apply(
            lambda connection: _delete(connection, user),
            lambda index, _: index.user_deleted(user),
        )

    async def _hashed(self, password: str) -> str:
        return await self._hashing.hash(password)


async def _update(connection: aiosqlite.Connection, user_id: str, changes: dict[str, Any]) -> User:
    changed = await store.users.update(connection, user_id, **changes)
    if changed.disabled:
        await store.sessions.end_all(connection, user_id)
    return changed


async def _set_password(
    connection: aiosqlite.Connection, user_id: str, hashed: str, must_change: bool
) -> User:
    await store.sessions.end_all(connection, user_id)
    return await store.users.update(
        connection, user_id, password=hashed, must_change_password=must_change
    )


async def _rehash(connection: aiosqlite.Connection, user: User, hashed: str) -> User:
    """Keeps the new hash unless the password has changed since then."""
    now = await store.users.get(connection, user.id)
    if now.password != user.password:
        return now
    return await store.users.update(connection, user.id, password=hashed)


async def _delete(connection: aiosqlite.Connection, user: User) -> None:
    owned = await store.memberships.owned_by(connection, user.id)
    if owned:
        names = ", ".join([(await store.projects.get(connection, each)).name for each in owned])
        raise Refusal("state.conflict", f"{user.name} owns {names}: pass that on first")
    await store.users.delete(connection, user.id)


def check_user_name(name: str) -> None:
    """Raises Refusal("argument.invalid") for what does not fit into a URL or a column of text."""
    fits = name.isascii() and all(each.isalnum() or each in _NAME for each in name)
    if not fits or not 1 <= len(name) <= 64 or not name[0].isalnum():
        text = f"username: give 1 to 64 letters, digits or {' '.join(_NAME)}, a letter first"
        raise Refusal("argument.invalid", text)


def check_password(password: str) -> None:
    """Raises Refusal("argument.invalid") for a password that is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        text = f"password: give {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
        raise Refusal("argument.invalid", text)
