"""Who there is, what they hold and what they may do: all of it in memory.

The store remembers; `control` writes there first and tells the directory then, before the client
has its reply. So what a reply acknowledged holds for whatever is asked after it, of the admin API
as of the models, and for answers that are still being sent (`grants.py`). Nothing here waits: every
question is a look into a dict.
"""

import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from gateway.identity.grants import Grants, Principal, Right
from gateway.identity.key_index import KeyIndex
from gateway.identity.keys import digest_of
from gateway.identity.permissions import WORKLOAD_PERMISSIONS, Permission, WorkloadKind, may
from store import Key, Membership, Model, Project, Role, Session, User, Visibility, now

_NEVER = float("inf")


def _since_boot() -> float:
    # It goes on while the machine sleeps, which the monotonic clock does not.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Accounts:
    """All users, keys and memberships, and whose each project is."""

    def __init__(self, callers: KeyIndex, clock: Callable[[], float] = _since_boot) -> None:
        """`clock` tells seconds that no jump of the wall clock moves."""
        self._callers = callers
        self._clock = clock
        self.grants = Grants(self.allows)
        self._users: dict[str, User] = {}
        self._by_name: dict[str, User] = {}
        self._keys: dict[str, Key] = {}
        # By the id of the key: its user, its project, and what it is for.
        self._engines: dict[str, tuple[str, str, WorkloadKind]] = {}
        self._sessions: dict[str, Session] = {}
        self._session_ends: dict[str, float] = {}  # by the clock above
        self._visibility: dict[str, Visibility] = {}
        self._roles: dict[str, dict[str, Role]] = {}  # by project, then by user

    # What is told.

    def put_user(self, user: User) -> None:
        """A user is there, or has changed. The keys of one who is disabled open nothing."""
        if (old := self._users.get(user.id)) is not None:
            del self._by_name[old.name.casefold()]
        self._users[user.id] = self._by_name[user.name.casefold()] = user
        for key in self.keys_of(user):
            self._index(key)
        if user.disabled:
            self.end_sessions(user)
        self.grants.review()

    def forget_user(self, user: User) -> None:
        for key in self.keys_of(user):
            self.forget_key(key.id)
        self.end_sessions(user)
        for roles in self._roles.values():
            roles.pop(user.id, None)
        del self._by_name[self._users.pop(user.id).name.casefold()]
        self.grants.review()

    def put_key(self, key: Key) -> None:
        self._keys[key.id] = key
        self._index(key)

    def forget_key(self, key_id: str) -> None:
        self._callers.revoke(key_id)
        self._keys.pop(key_id, None)
        self.grants.review()

    def _index(self, key: Key) -> None:
        if self._users[key.user_id].disabled:
            self._callers.revoke(key.id)
        else:
            self._callers.put(key, expiry_of(key))

    def put_workload(self, key: Key, project_id: str, kind: WorkloadKind) -> None:
        """A model or a run of a project acts for the key's user there, until its key is forgotten.

        It is a caller of its own, since it may not call all that its user may.
        """
        self._engines[key.id] = key.user_id, project_id, kind
        self._callers.put(msgspec.structs.replace(key, user_id=key.id), _NEVER)

    def forget_workload(self, key_id: str) -> None:
        self._callers.revoke(key_id)
        self._engines.pop(key_id, None)
        self.grants.review()

    def put_session(self, session: Session) -> None:
        """A browser has signed in, or did before the start. From here on what is left of its life
        goes by without the wall clock: one that is set back prolongs no session, one that jumps
        ahead ends none."""
        self._sessions[session.id] = session
        self._session_ends[session.id] = self._clock() + _left(session)

    def forget_session(self, session_id: str) -> None:
        self._drop_session(session_id)
        self.grants.review()

    def _drop_session(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)
        self._session_ends.pop(session_id, None)

    def end_sessions(self, user: User) -> None:
        for session in self.sessions_of(user):
            self._drop_session(session.id)
        self.grants.review()

    def put_project(self, project: Project) -> None:
        self._visibility[project.id] = project.visibility
        self._roles.setdefault(project.id, {})
        self.grants.review()

    def forget_project(self, project_id: str) -> None:
        self._visibility.pop(project_id, None)
        self._roles.pop(project_id, None)
        self.grants.review()

    def put_members(self, project_id: str, members: list[Membership]) -> None:
        """These and nobody else are the members of a project."""
        self._roles[project_id] = {each.user_id: each.role for each in members}
        self.grants.review()

    # What is asked.

    def user(self, name: str) -> User | None:
        """Who signs in by this name, in whatever case."""
        return self._by_name.get(name.casefold())

    def user_of(self, user_id: str) -> User | None:
        return self._users.get(user_id)

    def users(self) -> list[User]:
        """Ascending by creation."""
        return sorted(self._users.values(), key=lambda user: user.number)

    def keys_of(self, user: User) -> list[Key]:
        return [key for key in self._keys.values() if key.user_id == user.id]

    def sessions_of(self, user: User) -> list[Session]:
        """Ascending by creation."""
        return [each for each in self._sessions.values() if each.user_id == user.id]

    def principal(self, token: str, address: str) -> Principal | None:
        """The principal of this key at that address, if the key is valid for the admin API. The key
        of a model or a run has the user who started it, and is bounded by its project."""
        caller = self._callers.valid(token)
        if caller is None or caller.kind == "model":
            return None
        user_id, within, engine = caller.user_id, "", None
        if caller.kind == "engine":
            user_id, within, engine = self._engines[caller.user_id]
        user = self._users.get(user_id)
        if user is None or user.disabled:
            return None
        by = f"{caller.kind} key"
        return Principal(user, by, address, caller.key_id, within=within, engine=engine)

    def session(self, token: str) -> tuple[Session, User] | None:
        """The session of a browser that holds this, and whose it is."""
        session = self._sessions.get(digest_of(token))
        if session is None or self._is_over(session):
            return None
        return session, self._users[session.user_id]

    def roles_of(self, user: User) -> dict[str, Role]:
        """The roles of a user, by project."""
        return {p: roles[user.id] for p, roles in self._roles.items() if user.id in roles}

    def owner_of(self, project_id: str) -> User | None:
        roles = self._roles.get(project_id, {})
        owners = [user_id for user_id, role in roles.items() if role == "owner"]
        return self._users.get(owners[0]) if owners else None

    def members_of(self, project_id: str) -> list[tuple[User, Role]]:
        roles = self._roles.get(project_id, {})
        return [(user, roles[user.id]) for user in self.users() if user.id in roles]

    def may(self, user: User, needs: Permission, project_id: str = "", about: str = "") -> bool:
        """Whether somebody may do what needs this, in the project or about the user (by name) where
        it is about one."""
        return not user.disabled and may(
            needs,
            administrator=user.administrator,
            is_self=user.name.casefold() == about.casefold(),
            role=self._roles.get(project_id, {}).get(user.id),
            visibility=self._visibility.get(project_id, "private"),
        )

    def allows(self, who: Principal, right: Right) -> bool:
        """Whether they may do that now: with the key or in the session that they asked with, as
        long as there is that, and as the user they are by now."""
        user = self._users.get(who.user.id)
        if user is None or not self.is_live(who):
            return False
        if who.engine is not None and right.needs != "any":
            own = right.project_id == who.within and right.needs in WORKLOAD_PERMISSIONS[who.engine]
            return own and self.may(user, *right)
        return self.may(user, *right)

    def is_live(self, who: Principal) -> bool:
        """Whether the key or the session that they asked with is still one."""
        if who.session is None:
            return self._callers.is_live(who.key_id)
        session = self._sessions.get(who.session.id)
        return session is not None and not self._is_over(session)

    def sessions_over(self) -> list[Session]:
        """Those that have come to their end and are not forgotten yet."""
        return [each for each in self._sessions.values() if self._is_over(each)]

    def _is_over(self, session: Session) -> bool:
        return self._session_ends[session.id] <= self._clock()

    def key_ends(self, who: Principal) -> datetime | None:
        """When the key ends that they ask with; None: never, or they ask in a session."""
        key = self._keys.get(who.key_id)
        if key is None or key.expires_at is None:
            return None
        return datetime.fromisoformat(key.expires_at)

    def may_call(self, model: Model) -> frozenset[str] | None:
        """The ids of the users and engines whose keys open a model; None: it needs no key. Whoever
        is signed in may call what is public, in a private project too."""
        if not model.auth_enabled:
            return None
        public = model.visibility == "public"
        needs: Permission = "user" if public else "model.call"
        project_id = model.project_id
        users = {u.id for u in self._users.values() if self.may(u, needs, project_id)}
        engines = {
            e for e, own in self._engines.items() if own[0] in users and own[1] == project_id
        }
        return frozenset(users | engines)


def _left(session: Session) -> float:
    """How many seconds a session has still, never more than it was given at its beginning."""
    ends = datetime.fromisoformat(session.expires_at)
    left = (ends - datetime.fromisoformat(now())).total_seconds()
    if session.created_at:
        whole = (ends - datetime.fromisoformat(session.created_at)).total_seconds()
        left = min(left, whole)
    return left


def expiry_of(key: Key) -> float:
    """In seconds of the wall clock; inf: never."""
    if key.expires_at is None:
        return _NEVER
    return datetime.fromisoformat(key.expires_at).timestamp()
