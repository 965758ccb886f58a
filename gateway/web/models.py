"""/models: the list of models; the overview of one."""

from quart import Response

from gateway.control import Control
from gateway.web import routing
from gateway.web.frames import model_frame
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter
from gateway.web.states import model_state

MANY = "/models"
ONE = "/projects/<project_id>/models/<model_id>"
_COLUMNS = (
    Column("Model", "name"),
    Column("Status", "status"),
    Column("Replicas", "replicas_ready"),
    Column("Build", "current_build_number", number=True),
    Column("Project", "project.name"),
    Column("Last Deployed", "updated_at"),
)
_REFRESH = 2.0  # seconds; replicas become ready without a change in the database


class ModelPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the models of all projects")
    async def index(self, page: PageRequest) -> Response:
        listing = Listing(page.query)
        found = await page.api.get(MANY, **listing.parameters)
        return await self._router.reply(
            "models/index.html",
            page.viewer,
            here=MANY,
            columns=_COLUMNS,
            listing=listing.shown(found),
            models=[(model, model_state(model)) for model in found["models"]],
            refresh=_REFRESH,
        )

    @routing.get(ONE, "show a model")
    async def show(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await model_frame(page, project_id, model_id)
        return await self._router.reply("models/show.html", page.viewer, **frame, refresh=_REFRESH)
