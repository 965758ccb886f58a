"""/projects: the list of projects, and the overview of one."""

from quart import Response

from gateway.control import Control
from gateway.web import routing
from gateway.web.api import url
from gateway.web.frames import project_frame
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter
from gateway.web.states import model_state

MANY = "/projects"
ONE = f"{MANY}/<project_id>"
_COLUMNS = (
    Column("Name", "name"),
    Column("Description"),
    Column("Visibility", "visibility"),
    Column("Owner", "owner.username"),
    Column("Updated", "updated_at"),
)


class ProjectPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the projects")
    async def index(self, page: PageRequest) -> Response:
        listing = Listing(page.query)
        found = await page.api.get(MANY, **listing.parameters)
        return await self._router.reply(
            "projects/index.html",
            page.viewer,
            here=MANY,
            columns=_COLUMNS,
            listing=listing.shown(found),
            projects=found["projects"],
        )

    @routing.get(ONE, "show a project")
    async def show(self, page: PageRequest, project_id: str) -> Response:
        frame = await project_frame(page, project_id)
        models = await page.api.items(url("projects", project_id, "models"), "models")
        return await self._router.reply(
            "projects/show.html",
            page.viewer,
            **frame,
            models=[(model, model_state(model)) for model in models],
        )
