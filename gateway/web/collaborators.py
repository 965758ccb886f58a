"""/projects/.../collaborators: the users of a project and their roles."""

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.frames import project_frame
from gateway.web.routing import PageRequest, PageRouter, redirect

MANY = "/projects/<project_id>/collaborators"
ROLES = (
    ("viewer", "Viewer: sees the project and its models"),
    ("operator", "Operator: also deploys, stops and restarts models"),
    ("contributor", "Contributor: also changes files, builds models and runs experiments"),
    ("admin", "Admin: also manages settings and collaborators"),
)
_DONE = {"set": "The role is set.", "removed": "The collaborator is removed."}


class CollaboratorPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the collaborators of a project")
    async def index(self, page: PageRequest, project_id: str) -> Response:
        return await self._page(page, project_id)

    @routing.post(
        MANY,
        "add a collaborator, or set their role",
        audit="collaborator.set",
        needs="project.administer",
    )
    async def put(self, page: PageRequest, project_id: str) -> Response:
        name = page.form.get("username", "").strip()
        try:
            if not name:
                raise Refusal("argument.invalid", "username: give the name of a user")
            path = url("projects", project_id, "collaborators", name)
            await page.api.put(path, {"permission": page.form.get("permission", "")})
        except Refusal as refused:
            return await self._page(page, project_id, refused)
        return redirect(f"{url('projects', project_id, 'collaborators')}?done=set")

    @routing.post(
        f"{MANY}/remove",
        "remove a collaborator",
        audit="collaborator.remove",
        needs="project.administer",
    )
    async def remove(self, page: PageRequest, project_id: str) -> Response:
        name = page.form.get("username", "")
        try:
            await page.api.delete(url("projects", project_id, "collaborators", name))
        except Refusal as refused:
            return await self._page(page, project_id, refused)
        return redirect(f"{url('projects', project_id, 'collaborators')}?done=removed")

    async def _page(
        self, page: PageRequest, project_id: str, refused: Refusal | None = None
    ) -> Response:
        frame = await project_frame(page, project_id)
        path = url("projects", project_id, "collaborators")
        return await self._router.reply(
            "projects/collaborators.html",
            page.viewer,
            refused=refused,
            **frame,
            tab=path,
            team=await page.api.items(path, "collaborators"),
            roles=ROLES,
            typed=page.form.get("username", ""),
            done=_DONE.get(page.query.get("done", ""), ""),
        )
