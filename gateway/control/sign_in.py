"""Signing in: passwords tried slowly, sessions that end at once, links that work once.

What a browser holds is random; of a session only the hash is kept, on disk as in memory.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import trio

import store
from gateway.control.house import House
from gateway.control.trail import Act, Trail
from gateway.control.users import Users
from gateway.errors import Refusal
from gateway.keyring import digest_of
from store import Session, User

SESSION_LIFE = timedelta(days=7)
LINK_SECONDS = 60.0
# Wrong passwords in a row that cost nothing but themselves; each further one doubles the wait.
_FREE_TRIES = 5
_LONGEST_WAIT = 300.0
_MOST_REMEMBERED = 10_000
# Tries that wait for one of the two hashers; more would hold memory and make people wait.
_MOST_AT_ONCE = 20
_AGENT = 256


class Throttle:
    """Who has tried in vain, and until when they have to wait: arithmetic on `now`, seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, who: str) -> float:
        """Seconds until they may try again; 0: now."""
        _, until = self._tries.get(who, (0, 0.0))
        return max(0.0, until - self._now())

    def failed(self, who: str) -> None:
        count = self._tries.pop(who, (0, 0.0))[0] + 1
        over = count - _FREE_TRIES
        wait = min(2.0**over, _LONGEST_WAIT) if over > 0 else 0.0
        self._tries[who] = (count, self._now() + wait)
        # Forgetting the oldest: whoever fills this had to send as many requests.
        if len(self._tries) > _MOST_REMEMBERED:
            self._tries.popitem(last=False)

    def succeeded(self, who: str) -> None:
        self._tries.pop(who, None)


class SignIn:
    """Who signs in, by password or by a link."""

    def __init__(self, house: House, users: Users, trail: Trail) -> None:
        self._house = house
        self._users = users
        self._trail = trail
        self._throttle = Throttle()
        self._trying = 0
        self._links: dict[str, tuple[str, float]] = {}

    async def recover(self) -> None:
        """Tells the directory which sessions there are; their users are known already."""
        for session in await self._house.database.read(store.sessions.listing):
            self._house.directory.put_session(session)

    async def sign_in(self, name: str, password: str, address: str, agent: str) -> str:
        """The token of a new session. Raises Refusal: "auth.refused" (which of the two was wrong is
        not said) or "auth.throttled"."""
        # A name that is nobody's may be a password, typed into the wrong field.
        act = _act("sign_in", self._house.directory.user(name), address)
        try:
            user = await self._verified(name, password, address)
        except Refusal as refused:
            await self._trail.refused(msgspec.structs.replace(act, who=""), refused.code)
            raise
        user = await self._users.renewed(user, password)
        return await self._trail.carry_out(act, self._begin, user, address, agent)

    async def sign_out(self, session: Session) -> None:
        """Ends a session."""
        act = _act("sign_out", self._house.directory.user_of(session.user_id), session.address)
        await self._trail.carry_out(act, self._sign_out, session)

    async def _sign_out(self, session: Session) -> None:
        await self._house.database.write(store.sessions.end, session.id)
        self._house.directory.forget_session(session.id)

    async def change_password(
        self, user: User, old: str, new: str, address: str, agent: str
    ) -> str:
        """The token of the one session of theirs that there then is. Who has no password needs no
        old one. Raises Refusal as `sign_in`, or "argument.invalid"."""
        act = _act("user.change_password", user, address)
        return await self._trail.carry_out(
            act, self._change_password, user, old, new, address, agent
        )

    async def _change_password(
        self, user: User, old: str, new: str, address: str, agent: str
    ) -> str:
        if user.password:
            user = await self._verified(user.name, old, address)
        if not new or new == old:
            raise Refusal("argument.invalid", "password: give another one than before")
        user = await self._users.set_password(user, new, must_change=False)
        return await self._begin(user, address, agent)

    def new_link(self, user: User) -> str:
        """A token that signs this user in, once and within LINK_SECONDS."""
        now = trio.current_time()
        self._links = {digest: link for digest, link in self._links.items() if link[1] > now}
        token = secrets.token_urlsafe(32)
        self._links[digest_of(token)] = (user.id, now + LINK_SECONDS)
        return token

    async def redeem(self, token: str, address: str, agent: str) -> str:
        """The token of a session for a one-time link's. Raises Refusal("auth.link")."""
        user_id, until = self._links.pop(digest_of(token), ("", 0.0))
        user = self._house.directory.user_of(user_id)
        act = _act("link.redeem", user, address)
        if user is None or user.disabled or until <= trio.current_time():
            await self._trail.refused(msgspec.structs.replace(act, who=""), "auth.link")
            raise Refusal("auth.link", "this link was used already, or is too old")
        return await self._trail.carry_out(act, self._begin, user, address, agent, True)

    async def _verified(self, name: str, password: str, address: str) -> User:
        who = f"{name.casefold()[:64]} from {address}"
        if wait := self._throttle.wait(who):
            raise _throttled(wait)
        if self._trying >= _MOST_AT_ONCE:
            raise _throttled(1.0)
        user = self._house.directory.user(name)
        # Counted before it is known: many at once are not one try.
        self._throttle.failed(who)
        self._trying += 1
        try:
            right = await self._users.is_password(user, password)
        finally:
            self._trying -= 1
        if user is None or not right or user.disabled:
            raise Refusal("auth.refused", "there is no such user, or that is not their password")
        self._throttle.succeeded(who)
        return user

    async def _begin(self, user: User, address: str, agent: str, by_link: bool = False) -> str:
        token = secrets.token_urlsafe(32)
        session = Session(
            id=digest_of(token),
            user_id=user.id,
            address=address,
            agent=agent[:_AGENT],
            by_link=by_link,
            expires_at=store.as_text(datetime.now(UTC) + SESSION_LIFE),
        )
        async with self._house.deciding:
            current = self._house.directory.user_of(user.id)
            # It may have changed while the old password was looked at.
            if current is None or current.disabled or current.password != user.password:
                raise Refusal("auth.refused", "the user has changed meanwhile: sign in again")
            session = await self._house.database.write(store.sessions.insert, session)
            self._house.directory.put_session(session)
        return token


def _act(action: str, user: User | None, address: str) -> Act:
    who = user.name if user is not None else ""
    place = f"/users/{who}" if who else "/users"
    return Act(who=who, address=address, action=action, object=place)


def _throttled(wait: float) -> Refusal:
    text = f"too many wrong passwords: wait {wait:.0f} s" if wait > 1 else "too many sign-ins"
    return Refusal("auth.throttled", text, headers={"Retry-After": str(max(1, round(wait)))})
