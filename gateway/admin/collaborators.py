"""/projects/{id}/collaborators: the users of a project and their roles."""

import msgspec

from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.paging import PAGED, page
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.records import Role, User
from gateway.identity.principal import require


class PutCollaborator(msgspec.Struct, kw_only=True):
    permission: Role


class CollaboratorRoutes:
    def __init__(self, control: Control) -> None:
        self._collaborators = control.collaborators
        self._accounts = control.accounts
        self._users = control.users
        self._lookup = Lookup(control)

    @route.get(
        "/projects/<project_id>/collaborators",
        "project.view",
        "list the collaborators of a project and their roles",
        query=PAGED,
    )
    async def list(self, project_id: str) -> Json:
        await self._lookup.project(project_id)
        members = self._accounts.members_of(project_id)
        return await page("collaborators", [_json(user, role) for user, role in members])

    @route.put(
        "/projects/<project_id>/collaborators/<collaborator>",
        "project.administer",
        "set a user's role; the role of the owner transfers the project",
        audit="collaborator.set",
    )
    async def put(self, project_id: str, collaborator: str, body: PutCollaborator) -> Json:
        project = await self._lookup.project(project_id)
        if body.permission == "owner":
            require(self._accounts, "project.own", project_id)
        user = self._users.get(collaborator)
        await self._collaborators.put(project, user, body.permission)
        return _json(user, body.permission)

    @route.delete(
        "/projects/<project_id>/collaborators/<collaborator>",
        "project.administer",
        "remove a user's role",
        audit="collaborator.remove",
    )
    async def remove(self, project_id: str, collaborator: str) -> Json:
        project = await self._lookup.project(project_id)
        await self._collaborators.remove(project, self._users.get(collaborator))
        return {}


def _json(user: User, role: Role) -> Json:
    return {"username": user.name, "name": user.full_name, "permission": role}
