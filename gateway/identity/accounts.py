"""Users, keys, sessions and memberships in memory, and what each user may do.

The store is written first, and this memory is updated before the client has its response
(`control/permission_changes.py`). So what a response acknowledges holds for every later request,
of the admin API as of the models, and for responses that are still being sent (`grants.py`).
Nothing here waits: every question is a lookup in a dict.
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
    # This clock runs while the machine sleeps, unlike the monotonic clock.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Accounts:
    """All users, keys and memberships, and the owner of each project."""

    def __init__(self, key_index: KeyIndex, clock: Callable[[], float] = _since_boot) -> None:
        """`clock` counts seconds; the wall clock does not move it."""
        self._key_index = key_index
        self._clock = clock
        self.grants = Grants(self.allows)
        self._users: dict[str, User] = {}
        self._by_name: dict[str, User] = {}
        self._keys: dict[str, Key] = {}
        # By the id of the key: its user, its project, and the kind of the workload.
        self._workloads: dict[str, tuple[str, str, WorkloadKind]] = {}
        self._sessions: dict[str, Session] = {}
        self._session_ends: dict[str, float] = {}  # by the clock above
        self._visibility: dict[str, Visibility] = {}
        self._roles: dict[str, dict[str, Role]] = {}  # by project, then by user

    # Updates. Only `control/permission_changes.py` calls them.

    def put_user(self, user: User) -> None:
        """The user is new or has changed. The keys of a disabled user give no access."""
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
        self._key_index.revoke(key_id)
        self._keys.pop(key_id, None)
        self.grants.review()

    def _index(self, key: Key) -> None:
        if self._users[key.user_id].disabled:
            self._key_index.revoke(key.id)
        else:
            self._key_index.put(key, expiry_of(key))

    def put_workload(self, key: Key, project_id: str, kind: WorkloadKind) -> None:
        """A model or a run acts for the key's user in its project, until its key is forgotten.

        It has an id of its own in the index, since it may not call every model that its user may.
        """
        self._workloads[key.id] = key.user_id, project_id, kind
        self._key_index.put(msgspec.structs.replace(key, user_id=key.id), _NEVER)

    def forget_workload(self, key_id: str) -> None:
        self._key_index.revoke(key_id)
        self._workloads.pop(key_id, None)
        self.grants.review()

    def put_session(self, session: Session) -> None:
        """A browser has signed in, or did before the start. From now on the rest of the session's
        life is counted without the wall clock: one that is set back prolongs no session, and one
        that jumps ahead ends none."""
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
        """These are all members of a project."""
        self._roles[project_id] = {each.user_id: each.role for each in members}
        self.grants.review()

    # Questions.

    def user(self, name: str) -> User | None:
        """The user of this name, in any case."""
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
        of a workload has the user who started it, and is bounded by its project."""
        caller = self._key_index.find_valid(token)
        if caller is None or caller.kind == "model":
            return None
        user_id, within, workload = caller.user_id, "", None
        if caller.kind == "workload":
            user_id, within, workload = self._workloads[caller.user_id]
        user = self._users.get(user_id)
        if user is None or user.disabled:
            return None
        by = f"{caller.kind} key"
        return Principal(user, by, address, caller.key_id, within=within, workload=workload)

    def session(self, token: str) -> tuple[Session, User] | None:
        """The session of a browser that holds this token, and its user."""
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
        """Whether a user has the permission, in the project or concerning the user (by name) that
        are given."""
        return not user.disabled and may(
            needs,
            administrator=user.administrator,
            is_self=user.name.casefold() == about.casefold(),
            role=self._roles.get(project_id, {}).get(user.id),
            visibility=self._visibility.get(project_id, "private"),
        )

    def allows(self, who: Principal, right: Right) -> bool:
        """Whether a principal has the right now: as its user is by now, and only while the key or
        the session of its request is valid."""
        user = self._users.get(who.user.id)
        if user is None or not self.is_live(who):
            return False
        if who.workload is not None and right.needs != "any":
            own = (
                right.project_id == who.within and right.needs in WORKLOAD_PERMISSIONS[who.workload]
            )
            return own and self.may(user, *right)
        return self.may(user, *right)

    def is_live(self, who: Principal) -> bool:
        """Whether the key or the session of the request is still valid."""
        if who.session is None:
            return self._key_index.is_valid(who.key_id)
        session = self._sessions.get(who.session.id)
        return session is not None and not self._is_over(session)

    def sessions_over(self) -> list[Session]:
        """Sessions that have expired and are not forgotten yet."""
        return [each for each in self._sessions.values() if self._is_over(each)]

    def _is_over(self, session: Session) -> bool:
        return self._session_ends[session.id] <= self._clock()

    def key_ends(self, who: Principal) -> datetime | None:
        """When the key of the request expires; None: never, or the request has a session."""
        key = self._keys.get(who.key_id)
        if key is None or key.expires_at is None:
            return None
        return datetime.fromisoformat(key.expires_at)

    def may_call(self, model: Model) -> frozenset[str] | None:
        """The ids of the users and workloads whose keys may call a model; None: it needs no key.
        Every user may call a public model, in a private project too."""
        if not model.auth_enabled:
            return None
        public = model.visibility == "public"
        needs: Permission = "user" if public else "model.call"
        project_id = model.project_id
        users = {u.id for u in self._users.values() if self.may(u, needs, project_id)}
        workloads = {
            w for w, own in self._workloads.items() if own[0] in users and own[1] == project_id
        }
        return frozenset(users | workloads)


def _left(session: Session) -> float:
    """The seconds that a session has left, never more than it had at its start."""
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
