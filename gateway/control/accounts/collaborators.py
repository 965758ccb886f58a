"""Collaborators: the members of projects, and the role of each."""

from collections.abc import Awaitable, Callable

import aiosqlite

import store
from gateway.control.permission_changes import PermissionChanges, PermissionIndex
from gateway.errors import Refusal
from store import Database, Membership, Project, Role, User


class Collaborators:
    """The members of all projects."""

    def __init__(self, *, database: Database, permissions: PermissionChanges) -> None:
        self._database = database
        self._permissions = permissions

    async def recover(self) -> None:
        """Loads projects and their members into memory."""
        for project in await self._database.read(store.projects.list_all):
            members = await self._database.read(store.memberships.list_all, project.id)
            update = self._permissions.apply_unwritten
            update(PermissionIndex.project_changed, project)
            update(PermissionIndex.members_changed, project.id, members)

    async def put(self, project: Project, user: User, role: Role) -> None:
        """Gives a user this role; the owner's role transfers the project. Raises Refusal."""
        await self._change(project, lambda connection: _put(connection, project.id, user.id, role))

    async def remove(self, project: Project, user: User) -> None:
        """Ends a user's membership. Raises NotFound, or Refusal for the owner."""
        await self._change(project, lambda connection: _remove(connection, project.id, user.id))

    async def _change(
        self,
        project: Project,
        write: Callable[[aiosqlite.Connection], Awaitable[list[Membership]]],
    ) -> None:
        await self._permissions.apply(
            write, lambda index, members: index.members_changed(project.id, members)
        )


async def _put(
    connection: aiosqlite.Connection, project_id: str, user_id: str, role: Role
) -> list[Membership]:
    if role == "owner":
        await store.memberships.transfer(connection, project_id, user_id)
    else:
        await _refuse_owner(connection, project_id, user_id)
        await store.memberships.put(connection, project_id, user_id, role)
    return await store.memberships.list_all(connection, project_id)


async def _remove(
    connection: aiosqlite.Connection, project_id: str, user_id: str
) -> list[Membership]:
    await _refuse_owner(connection, project_id, user_id)
    await store.memberships.remove(connection, project_id, user_id)
    return await store.memberships.list_all(connection, project_id)


async def _refuse_owner(connection: aiosqlite.Connection, project_id: str, user_id: str) -> None:
    """Raises Refusal: a project has one owner, until another user is made its owner."""
    if project_id in await store.memberships.owned_by(connection, user_id):
        raise Refusal("state.conflict", "they own the project: make another user its owner first")
