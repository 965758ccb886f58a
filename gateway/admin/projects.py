"""/projects: folders of code."""

import msgspec

from gateway.admin.lookup import Lookup
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import CreateProject, Json, UpdateProject, project_json
from gateway.control import Control
from gateway.control.projects.new_project import NewProject
from gateway.control.variables import ShownVariables
from gateway.identity.principal import is_allowed, principal
from store import Project


def add_routes(routing: Router, control: Control) -> None:
    seek, directory = Lookup(control), control.context.accounts

    def as_json(project: Project) -> Json:
        edits = is_allowed(directory, "project.edit", project.id)
        variables = control.context.variables.shown(project) if edits else ShownVariables()
        owner, who = directory.owner_of(project.id), principal().user
        owns = project.linked and owner is not None and owner.id == who.id
        return project_json(project, owner, variables, with_path=who.administrator or owns)

    async def index() -> Json:
        return await page("projects", [as_json(p) for p in await seek.projects()])

    async def create(asked: CreateProject) -> Json:
        new = NewProject(**msgspec.structs.asdict(asked))
        return as_json(await control.projects.create(new, principal().user))

    async def show(project_id: str) -> Json:
        return as_json(await seek.project(project_id))

    async def update(project_id: str, asked: UpdateProject) -> Json:
        project = await seek.project(project_id)
        return as_json(await control.projects.update(project, msgspec.to_builtins(asked)))

    async def delete(project_id: str) -> Json:
        await control.projects.delete(await seek.project(project_id))
        return {}

    one = "/projects/<project_id>"
    routing.add("GET", "/projects", "any", "the projects", index, query=PAGED)
    routing.add(
        "POST",
        "/projects",
        "user",
        "make a project",
        create,
        CreateProject,
        action="project.create",
    )
    routing.add("GET", one, "project.view", "one project", show)
    routing.add(
        "PATCH",
        one,
        "project.administer",
        "change a project",
        update,
        UpdateProject,
        action="project.update",
    )
    routing.add(
        "DELETE",
        one,
        "project.own",
        "delete a project and its models",
        delete,
        action="project.delete",
    )
