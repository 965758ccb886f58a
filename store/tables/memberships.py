"""Memberships: the roles of users in projects.

There is one for each user and project. Each project has one owner.
"""

import aiosqlite

from store.errors import NotFound
from store.records import Membership, Role
from store.tables.projects import projects
from store.tables.table import Table
from store.tables.users import users


class Memberships(Table[Membership]):
    async def put(
        self, connection: aiosqlite.Connection, project_id: str, user_id: str, role: Role
    ) -> Membership:
        """Set the role of a user in a project. Raises NotFound (project, user)."""
        await projects.get(connection, project_id)
        await users.get(connection, user_id)
        existing = await self._of(connection, project_id, user_id)
        if existing is not None:
            return await self.update(connection, existing.id, role=role)
        return await self.insert(
            connection, Membership(project_id=project_id, user_id=user_id, role=role)
        )

    async def transfer(
        self, connection: aiosqlite.Connection, project_id: str, user_id: str
    ) -> None:
        """Make a user the owner of a project. The previous owner becomes an admin. Raises
        NotFound."""
        for membership in await self.list_all(connection, project_id):
            if membership.role == "owner":
                await self.update(connection, membership.id, role="admin")
        await self.put(connection, project_id, user_id, "owner")

    async def owned_by(self, connection: aiosqlite.Connection, user_id: str) -> list[str]:
        """Return the ids of the projects that a user owns."""
        found = await self.select(
            connection, "WHERE user_id = ? AND role = 'owner' ORDER BY number", user_id
        )
        return [membership.project_id for membership in found]

    async def remove(self, connection: aiosqlite.Connection, project_id: str, user_id: str) -> None:
        """Delete the membership of a user in a project. Raises NotFound."""
        membership = await self._of(connection, project_id, user_id)
        if membership is None:
            raise NotFound("membership", user_id)
        await self.delete(connection, membership.id)

    async def _of(
        self, connection: aiosqlite.Connection, project_id: str, user_id: str
    ) -> Membership | None:
        return await self.find(connection, "project_id = ? AND user_id = ?", project_id, user_id)


memberships = Memberships(
    "memberships",
    Membership,
    immutable=["project_id", "user_id"],
    parent=(projects, "project_id"),
)
