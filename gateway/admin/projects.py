"""/projects: folders of code."""

from typing import Annotated, ClassVar

import msgspec

from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.paging import PAGED, page
from gateway.admin.schemas import Json, Variables, creator_json, variables_json
from gateway.control import Control
from gateway.control.projects.new_project import NewProject
from gateway.control.records import Project, User, Visibility
from gateway.control.user_variables import ShownVariables
from gateway.identity.principal import is_allowed, principal

# A key for one clone: it is read, and never sent.
KeyText = Annotated[str, msgspec.Meta(max_length=16 * 1024, extra_json_schema={"writeOnly": True})]


class CreateProject(msgspec.Struct, kw_only=True):
    """`git_key`, an OpenSSH private key without a passphrase, and `git_host_key`, lines of
    known_hosts or `type base64`, are used for the clone over ssh and not stored."""

    granted: ClassVar[dict[str, str]] = {"default_project_engine_type": "ml_runtime"}
    name: str
    description: str = ""
    visibility: Visibility = "private"
    template: str = ""
    git_url: str = ""
    git_ref: str = ""
    git_key: KeyText = ""
    git_host_key: KeyText = ""
    path: str = ""
    runtime_identifier: str = ""
    environment: Variables = {}
    secrets: Variables = {}


class UpdateProject(msgspec.Struct, kw_only=True, omit_defaults=True):
    read_only: ClassVar[tuple[str, ...]] = (
        *("id", "number", "template", "git_url", "git_ref", "path", "linked", "creator", "owner"),
        *("environment_problem", "creation_status", "creation_error", "created_at", "updated_at"),
    )
    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    visibility: Visibility | msgspec.UnsetType = msgspec.UNSET
    runtime: str | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="runtime_identifier"
    )
    environment: Variables | msgspec.UnsetType = msgspec.UNSET
    secrets: Variables | msgspec.UnsetType = msgspec.UNSET


class ProjectRoutes:
    def __init__(self, control: Control) -> None:
        self._projects = control.projects
        self._sessions = control.sessions
        self._lookup = Lookup(control)
        self._accounts = control.accounts
        self._variables = control.variables

    @route.get("/projects", "any", "list the projects", query=PAGED)
    async def list(self) -> Json:
        return await page(
            "projects", [self._json(p) for p in await self._lookup.visible_projects()]
        )

    @route.post("/projects", "user", "create a project", audit="project.create")
    async def create(self, body: CreateProject) -> Json:
        given = msgspec.structs.asdict(body)
        new = NewProject(runtime=given.pop("runtime_identifier"), **given)
        return self._json(await self._projects.create(new, principal().user))

    @route.get("/projects/<project_id>", "project.view", "show a project")
    async def show(self, project_id: str) -> Json:
        return self._json(await self._lookup.project(project_id))

    @route.patch(
        "/projects/<project_id>", "project.administer", "change a project", audit="project.update"
    )
    async def update(self, project_id: str, body: UpdateProject) -> Json:
        project = await self._lookup.project(project_id)
        changes = {
            name: value
            for name, value in msgspec.structs.asdict(body).items()
            if value is not msgspec.UNSET
        }
        return self._json(await self._projects.update(project, changes))

    @route.delete(
        "/projects/<project_id>",
        "project.own",
        "delete a project and its models",
        audit="project.delete",
    )
    async def delete(self, project_id: str) -> Json:
        project = await self._lookup.project(project_id)
        async with self._sessions.closed(project.id):
            await self._projects.delete(project)
        return {}

    def _json(self, project: Project) -> Json:
        edits = is_allowed(self._accounts, "project.edit", project.id)
        variables = self._variables.shown(project) if edits else ShownVariables()
        owner, who = self._accounts.owner_of(project.id), principal().user
        owns = project.linked and owner is not None and owner.id == who.id
        return project_json(project, owner, variables, with_path=who.administrator or owns)


def project_json(
    project: Project, owner: User | None, variables: ShownVariables, *, with_path: bool
) -> Json:
    """`variables` are empty for a user who may not change them; the path is one of this machine."""
    return {
        "id": project.id,
        "number": project.number,
        "name": project.name,
        "description": project.description,
        "visibility": project.visibility,
        "template": project.template,
        "git_url": project.git_url,
        "git_ref": project.git_ref,
        "path": project.path if with_path else "",
        "linked": project.linked,
        "runtime_identifier": project.runtime,
        **variables_json(variables),
        "creation_status": project.creation_status,
        "creation_error": project.creation_error,
        "creator": creator_json(project.creator),
        "owner": creator_json(owner.name if owner else ""),
        "created_at": project.created_at,
        "updated_at": project.updated_at,
    }
