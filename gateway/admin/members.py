"""/projects/{id}/collaborators: who works in a project."""

import msgspec

from gateway.admin.lookup import Lookup
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import Json
from gateway.admin.users import find_user
from gateway.control import Control
from gateway.identity.principal import require
from store import Role, User


class PutCollaborator(msgspec.Struct, kw_only=True):
    permission: Role


def add_routes(routing: Router, control: Control) -> None:
    seek, directory = Lookup(control), control.context.accounts

    async def index(project_id: str) -> Json:
        await seek.project(project_id)
        members = directory.members_of(project_id)
        return await page("collaborators", [_json(user, role) for user, role in members])

    async def put(project_id: str, collaborator: str, asked: PutCollaborator) -> Json:
        project = await seek.project(project_id)
        if asked.permission == "owner":
            require(directory, "project.own", project_id)
        user = find_user(control, collaborator)
        await control.collaborators.put(project, user, asked.permission)
        return _json(user, asked.permission)

    async def remove(project_id: str, collaborator: str) -> Json:
        project = await seek.project(project_id)
        await control.collaborators.remove(project, find_user(control, collaborator))
        return {}

    many = "/projects/<project_id>/collaborators"
    one = f"{many}/<collaborator>"
    routing.add(
        "GET", many, "project.view", "who works in a project, and as what", index, query=PAGED
    )
    routing.add(
        "PUT",
        one,
        "project.administer",
        "give a user a role; the owner's passes the project on",
        put,
        PutCollaborator,
        action="collaborator.set",
    )
    routing.add(
        "DELETE",
        one,
        "project.administer",
        "take a user's role away",
        remove,
        action="collaborator.remove",
    )


def _json(user: User, role: Role) -> Json:
    return {"username": user.name, "name": user.full_name, "permission": role}
