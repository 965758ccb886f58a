"""Changes of who may do what: written first, then applied to memory, one at a time.

Permissions are checked from memory: `Accounts` answers for the admin API and the pages, `Endpoints`
for calls of models. Both have to follow the store, or a revoked right stays in force until the next
start. So there is one operation, `PermissionChanges.apply`, and no other code changes either of
them. In this order, under one lock, it

1. checks what may have changed since the request came,
2. writes; if the disk refuses, nothing has happened,
3. updates memory, which ends the answers whose rights are gone (`grants.py`).

The lock makes the last change that was written the last that memory sees. The caller is answered
after step 3: what an answer acknowledges holds for the next request.
"""

from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite
import trio

from gateway.identity.accounts import Accounts
from gateway.identity.permissions import WorkloadKind
from gateway.predictions.endpoints import Endpoints
from store import Database, Key, Membership, Model, Project, Session, User

P = ParamSpec("P")
T = TypeVar("T")


class PermissionIndex:
    """What memory knows of permissions. Each method applies one change to all of it."""

    def __init__(self, accounts: Accounts, endpoints: Endpoints) -> None:
        self._accounts = accounts
        self._endpoints = endpoints

    def user_changed(self, user: User) -> None:
        """The user is new, or has other facts; a disabled one has no sessions."""
        self._accounts.put_user(user)
        self._endpoints.refresh_permissions()

    def password_changed(self, user: User) -> None:
        """As `user_changed`, and every session of the user has ended."""
        self.user_changed(user)
        self._accounts.end_sessions(user)

    def user_deleted(self, user: User) -> None:
        self._accounts.forget_user(user)
        self._endpoints.refresh_permissions()

    def key_added(self, key: Key) -> None:
        self._accounts.put_key(key)

    def key_revoked(self, key_id: str) -> None:
        self._accounts.forget_key(key_id)

    def keys_revoked(self, keys: list[Key]) -> None:
        for key in keys:
            self._accounts.forget_key(key.id)

    def workload_started(self, key: Key, project_id: str, kind: WorkloadKind) -> None:
        """A model or a run holds this key, which no store remembers."""
        self._accounts.put_workload(key, project_id, kind)
        self._endpoints.refresh_permissions(project_id)

    def workload_ended(self, key: Key, project_id: str) -> None:
        self._accounts.forget_workload(key.id)
        self._endpoints.refresh_permissions(project_id)

    def session_started(self, session: Session) -> None:
        self._accounts.put_session(session)

    def session_ended(self, session: Session) -> None:
        self._accounts.forget_session(session.id)

    def project_changed(self, project: Project) -> None:
        """The project is new, or has another visibility."""
        self._accounts.put_project(project)
        self._endpoints.refresh_permissions(project.id)

    def members_changed(self, project_id: str, members: list[Membership]) -> None:
        """These are all members of the project."""
        self._accounts.put_members(project_id, members)
        self._endpoints.refresh_permissions(project_id)

    def project_deleted(self, project_id: str, models: list[Model]) -> None:
        """The project is gone, with its models."""
        self._accounts.forget_project(project_id)
        for model in models:
            self._endpoints.forget_model(model.id)

    def model_changed(self, model: Model) -> None:
        """The model is new, or has another access key, name or visibility."""
        self._endpoints.put_model(model)

    def model_deleted(self, model: Model) -> None:
        self._endpoints.forget_model(model.id)


class PermissionChanges:
    """The one way to change permissions. While `lock` is held, no change begins."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        endpoints: Endpoints,
        lock: trio.Lock | None = None,
    ) -> None:
        self._database = database
        self._index = PermissionIndex(accounts, endpoints)
        self._lock = lock or trio.Lock()

    async def apply(
        self,
        write: Callable[[aiosqlite.Connection], Awaitable[T]],
        update: Callable[[PermissionIndex, T], object],
        *,
        check: Callable[[], object] | None = None,
    ) -> T:
        """Returns the result of `write`, which `update` has applied to memory.

        `check` raises what makes the change impossible now; then nothing is written. Raises what
        `write` raises; then memory is as it was.
        """
        async with self._lock:
            if check is not None:
                check()
            result = await self._database.write(write)
            update(self._index, result)
        return result

    def apply_unwritten(
        self,
        update: Callable[Concatenate[PermissionIndex, P], object],
        *args: P.args,
        **named: P.kwargs,
    ) -> None:
        """Applies to memory what is not written now: what a start has read from the store, and the
        keys of workloads, which no store has."""
        update(self._index, *args, **named)
