"""/projects/.../models: the models of one project."""

from quart import Response

from gateway.control import Control
from gateway.web import routing
from gateway.web.api import url
from gateway.web.frames import project_frame
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter
from gateway.web.states import model_state

MANY = "/projects/<project_id>/models"
_COLUMNS = (
    Column("Model", "name"),
    Column("Description"),
    Column("Status", "status"),
    Column("Replicas", "replicas_ready"),
    Column("Build", "current_build_number", number=True),
    Column("Created By", "creator.username"),
    Column("Last Deployed", "updated_at"),
)
_REFRESH = 2.0  # seconds; replicas become ready without a change in the database


class ProjectModelPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the models of a project")
    async def index(self, page: PageRequest, project_id: str) -> Response:
        frame = await project_frame(page, project_id)
        path = url("projects", project_id, "models")
        listing = Listing(page.query)
        found = await page.api.get(path, **listing.parameters)
        return await self._router.reply(
            "projects/models.html",
            page.viewer,
            **frame,
            tab=path,
            columns=_COLUMNS,
            listing=listing.shown(found),
            models=[(model, model_state(model)) for model in found["models"]],
            refresh=_REFRESH,
        )
