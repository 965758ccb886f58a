"""Memberships: who works in which project, and as what. One for each user and project; one of each
project's is its owner."""

import aiosqlite

from store.errors import NotFound
from store.records import Membership, Role
from store.tables import projects, users
from store.tables.table import Table

_table = Table("memberships", Membership, keeps=["project_id", "user_id"])


async def put(
    connection: aiosqlite.Connection, project_id: str, user_id: str, role: Role
) -> Membership:
    """Give a user this role in a project, whatever it was before. Raises NotFound."""
    await projects.get(connection, project_id)
    await users.get(connection, user_id)
    there = await _find(connection, project_id, user_id)
    if there is not None:
        return await _table.update(connection, there.id, {"role": role})
    return await _table.insert(
        connection, Membership(project_id=project_id, user_id=user_id, role=role)
    )


async def pass_on(connection: aiosqlite.Connection, project_id: str, user_id: str) -> None:
    """Make a user the owner of a project; who was it stays as an admin. Raises NotFound."""
    for there in await listing(connection, project_id):
        if there.role == "owner":
            await _table.update(connection, there.id, {"role": "admin"})
    await put(connection, project_id, user_id, "owner")


async def listing(
    connection: aiosqlite.Connection, project_id: str | None = None
) -> list[Membership]:
    """Return the memberships of a project, or all of them, ascending by creation."""
    if project_id is None:
        return await _table.select(connection)
    return await _table.select(connection, "WHERE project_id = ? ORDER BY number", project_id)


async def owned_by(connection: aiosqlite.Connection, user_id: str) -> list[str]:
    """Return the ids of the projects that a user owns."""
    found = await _table.select(
        connection, "WHERE user_id = ? AND role = 'owner' ORDER BY number", user_id
    )
    return [each.project_id for each in found]


async def delete(connection: aiosqlite.Connection, project_id: str, user_id: str) -> None:
    """End a membership. Raises NotFound."""
    there = await _find(connection, project_id, user_id)
    if there is None:
        raise NotFound("membership", user_id)
    await _table.delete(connection, there.id)


async def _find(
    connection: aiosqlite.Connection, project_id: str, user_id: str
) -> Membership | None:
    return await _table.find(connection, "project_id = ? AND user_id = ?", project_id, user_id)
