"""/projects: folders of code."""

import msgspec

import store
from gateway.admin.paging import PAGED, page
from gateway.admin.routing import Routing
from gateway.admin.shapes import CreateProject, Json, UpdateProject, project_json
from gateway.admin.sought import Seeker
from gateway.control import Control
from gateway.control.projects import NewProject


def add_routes(routing: Routing, control: Control) -> None:
    seek = Seeker(control)

    async def index() -> Json:
        projects = await control.house.database.read(store.projects.listing)
        return page("projects", [project_json(p) for p in projects])

    async def create(asked: CreateProject) -> Json:
        new = NewProject(**msgspec.structs.asdict(asked))
        return project_json(await control.projects.create(new))

    async def show(project_id: str) -> Json:
        return project_json(await seek.project(project_id))

    async def update(project_id: str, asked: UpdateProject) -> Json:
        project = await seek.project(project_id)
        return project_json(await control.projects.update(project, msgspec.to_builtins(asked)))

    async def delete(project_id: str) -> Json:
        await control.projects.delete(await seek.project(project_id))
        return {}

    one = "/projects/<project_id>"
    routing.add("GET", "/projects", "the projects", index, query=PAGED)
    routing.add("POST", "/projects", "make a project", create, CreateProject)
    routing.add("GET", one, "one project", show)
    routing.add("PATCH", one, "change a project", update, UpdateProject)
    routing.add("DELETE", one, "delete a project and its models", delete)
