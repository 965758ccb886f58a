"""Signing in: throttled passwords, sessions that end at once, links that work once.

The token of a browser is random. Of a session only the hash is kept, on disk as in memory.
"""

import math
import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import aiosqlite
import msgspec
import trio

import store
from gateway.client_network import network_of
from gateway.control.accounts.known_devices import KnownDevices
from gateway.control.accounts.throttle import AttemptKey, Throttle
from gateway.control.accounts.users import Users
from gateway.control.audit.audit_log import AuditEvent, AuditLog
from gateway.control.permission_changes import PermissionChanges, PermissionIndex
from gateway.errors import Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.keys import digest_of
from store import Database, Session, User

SESSION_LIFE = timedelta(days=7)
LINK_SECONDS = 60.0
# Of one user. One more ends the oldest.
MOST_SESSIONS = 100
_AGENT = 256


class Browser(NamedTuple):
    """The client, as its request says: `device` is the cookie of a browser (`known_devices.py`)."""

    address: str
    agent: str
    device: str = ""


class SignIn:
    """Signs users in, by password or by a link."""

    def __init__(
        self,
        *,
        database: Database,
        accounts: Accounts,
        permissions: PermissionChanges,
        users: Users,
        audit_log: AuditLog,
        devices: KnownDevices,
        throttle: Throttle,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._permissions = permissions
        self._users = users
        self._audit_log = audit_log
        self._devices = devices
        self._throttle = throttle
        self._links: dict[str, tuple[str, float]] = {}

    async def recover(self) -> None:
        """Loads all sessions into memory. Their users are loaded already."""
        for session in await self._database.read(store.sessions.list_all):
            self._permissions.apply_unwritten(PermissionIndex.session_started, session)
            self._devices.remember(session.user_id, network_of(session.address))

    def new_device(self, token: str) -> str:
        """The device cookie for a browser in which a password has just started the session of this
        token; "" if the session has ended already."""
        found = self._accounts.session(token)
        return self._devices.new_cookie(found[1]) if found is not None else ""

    async def sign_in(self, name: str, password: str, browser: Browser) -> str:
        """The token of a new session. Raises Refusal: "auth.throttled", or "auth.refused", which
        does not say whether the name or the password was wrong."""
        # An unknown name may be a password, typed into the wrong field.
        act = _act("sign_in", self._accounts.user(name), browser.address)
        keys, known = self._keys(name, browser)
        try:
            user = await self._verified(name, password, browser, keys, known=known)
        except Refusal as refused:
            await self._audit_log.refused(msgspec.structs.replace(act, user=""), refused.code)
            raise
        user = await self._users.rehash_if_outdated(user, password)
        return await self._audit_log.run_audited(act, self._begin, user, browser)

    async def sign_out(self, session: Session) -> None:
        """Ends a session."""
        act = _act("sign_out", self._accounts.user_of(session.user_id), session.address)
        await self._audit_log.run_audited(act, self._sign_out, session)

    def sessions_of(self, user: User) -> list[Session]:
        """The sessions of a user that are not over, oldest first."""
        over = {each.id for each in self._accounts.sessions_over()}
        return [each for each in self._accounts.sessions_of(user) if each.id not in over]

    async def end(self, user: User, session_id: str) -> None:
        """Ends one session of a user: its browser is signed out at once. Raises NotFound."""
        for session in self._accounts.sessions_of(user):
            if session.id == session_id:
                await self._sign_out(session)
                return
        raise store.NotFound("session", session_id)

    async def _sign_out(self, session: Session) -> None:
        await self._permissions.apply(
            lambda connection: store.sessions.end(connection, session.id),
            lambda index, _: index.session_ended(session),
        )

    async def change_password(self, user: User, old: str, new: str, browser: Browser) -> str:
        """Ends every session of the user, and returns the token of a new one. A user without a
        password needs no old one. Raises Refusal as `sign_in`, or "argument.invalid"."""
        act = _act("user.change_password", user, browser.address)
        change = self._change_password
        return await self._audit_log.run_audited(act, change, user, old, new, browser)

    async def _change_password(self, user: User, old: str, new: str, browser: Browser) -> str:
        if user.password:
            # The session may be stolen: the thief cannot guess the password faster than others.
            keys = [AttemptKey("device", f"session of {user.id}")]
            user = await self._verified(user.name, old, browser, keys, known=True)
        if not new or new == old:
            raise Refusal("argument.invalid", "password: give another one than before")
        user = await self._users.set_password(user, new, must_change=False)
        return await self._begin(user, browser)

    def new_link(self, user: User) -> str:
        """A token that signs this user in, once and within LINK_SECONDS."""
        now = trio.current_time()
        self._links = {digest: link for digest, link in self._links.items() if link[1] > now}
        token = secrets.token_urlsafe(32)
        self._links[digest_of(token)] = (user.id, now + LINK_SECONDS)
        return token

    async def redeem(self, token: str, browser: Browser) -> str:
        """The token of a session for a one-time link's. Raises Refusal("auth.link_expired")."""
        user_id, until = self._links.pop(digest_of(token), ("", 0.0))
        user = self._accounts.user_of(user_id)
        act = _act("link.redeem", user, browser.address)
        if user is None or user.disabled or until <= trio.current_time():
            unknown = msgspec.structs.replace(act, user="")
            await self._audit_log.refused(unknown, "auth.link_expired")
            raise Refusal("auth.link_expired", "this link was used already, or is too old")
        return await self._audit_log.run_audited(act, self._begin, user, browser, True)

    def _keys(self, name: str, browser: Browser) -> tuple[list[AttemptKey], bool]:
        """What an attempt counts against, and whether the user has signed in from there before."""
        user, network = self._accounts.user(name), network_of(browser.address)
        if device := self._devices.device_of(user, browser.device):
            return [AttemptKey("device", device)], True
        folded = name.casefold()[:64]
        place = AttemptKey("place", f"{folded} from {network}")
        if self._devices.knows(user, network):
            return [place], True
        return [place, AttemptKey("name", folded), AttemptKey("network", network)], False

    async def _verified(
        self, name: str, password: str, browser: Browser, keys: list[AttemptKey], *, known: bool
    ) -> User:
        if wait := self._throttle.wait(keys):
            raise _throttled(wait)
        user = self._accounts.user(name)
        # Counted before the result is known: many attempts at once are not one.
        self._throttle.failed(keys)
        network = network_of(browser.address)
        right = await self._users.is_password(user, password, network, known=known)
        if user is None or not right or user.disabled:
            raise Refusal("auth.refused", "there is no such user, or that is not their password")
        self._throttle.succeeded(keys)
        return user

    async def _begin(self, user: User, browser: Browser, by_link: bool = False) -> str:
        token = secrets.token_urlsafe(32)
        session = Session(
            id=digest_of(token),
            user_id=user.id,
            address=browser.address,
            agent=browser.agent[:_AGENT],
            by_link=by_link,
            expires_at=store.as_text(datetime.now(UTC) + SESSION_LIFE),
        )
        ended: list[Session] = []

        def check() -> None:
            current = self._accounts.user_of(user.id)
            # The user may have changed while the password was verified.
            if current is None or current.disabled or current.password != user.password:
                raise Refusal("auth.refused", "the user has changed meanwhile: sign in again")
            ended.extend(self._accounts.sessions_over())
            ended.extend(self._accounts.sessions_of(user)[: -MOST_SESSIONS + 1])

        def update(index: PermissionIndex, started: Session) -> None:
            for each in ended:
                index.session_ended(each)
            index.session_started(started)

        await self._permissions.apply(
            lambda connection: _insert(connection, session, ended), update, check=check
        )
        self._devices.remember(user.id, network_of(browser.address))
        return token


async def _insert(
    connection: aiosqlite.Connection, session: Session, ended: list[Session]
) -> Session:
    for each in ended:
        await store.sessions.end(connection, each.id)
    return await store.sessions.insert(connection, session)


def _act(action: str, user: User | None, address: str) -> AuditEvent:
    who = user.name if user is not None else ""
    place = f"/users/{who}" if who else "/users"
    return AuditEvent(user=who, address=address, action=action, object=place)


def _throttled(wait: float) -> Refusal:
    seconds = math.ceil(wait)
    text = f"too many wrong passwords: wait {seconds} s"
    return Refusal("auth.throttled", text, headers={"Retry-After": str(seconds)})
