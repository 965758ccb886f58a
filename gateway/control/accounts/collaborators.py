"""Members: who works in which project, and as what."""

import aiosqlite

import store
from gateway.control.context import ControlContext
from gateway.errors import Refusal
from store import Membership, Project, Role, User


class Collaborators:
    """The members of all projects."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context

    async def recover(self) -> None:
        """Tells the directory which projects there are, and who works there."""
        projects = await self._context.database.read(store.projects.list_all)
        for project in projects:
            self._context.accounts.put_project(project)
            members = await self._context.database.read(store.memberships.list_all, project.id)
            self._context.accounts.put_members(project.id, members)

    async def put(self, project: Project, user: User, role: Role) -> None:
        """Gives a user this role; the owner's passes a project on. Raises Refusal."""
        async with self._context.permissions_lock:
            self._tell(project, await self._context.database.write(_put, project.id, user.id, role))

    async def remove(self, project: Project, user: User) -> None:
        """Takes a user's role away. Raises NotFound, or Refusal for the owner."""
        async with self._context.permissions_lock:
            self._tell(project, await self._context.database.write(_remove, project.id, user.id))

    def _tell(self, project: Project, members: list[Membership]) -> None:
        self._context.accounts.put_members(project.id, members)
        self._context.endpoints.refresh_permissions()


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
    """Raises Refusal: a project has one owner, until another is made that."""
    if project_id in await store.memberships.owned_by(connection, user_id):
        raise Refusal("state.conflict", "they own the project: make somebody else its owner first")
