"""/search: the projects and models whose name has a text."""

from quart import Response

from gateway.control import Control
from gateway.web import routing
from gateway.web.listing import Listing
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.states import model_state

PATH = "/search"


class SearchPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "search projects and models")
    async def show(self, page: PageRequest) -> Response:
        text = page.query.get("q", "").strip()
        if not text:
            return redirect("/projects")
        asked = Listing({"filter": text}).parameters
        projects = await page.api.get("/projects", **asked)
        models = await page.api.get("/models", **asked)
        return await self._router.reply(
            "search.html",
            page.viewer,
            text=text,
            projects=projects["projects"],
            models=[(model, model_state(model)) for model in models["models"]],
            # The lists have a filter of their own for more.
            more=bool(projects["next_page_token"] or models["next_page_token"]),
        )
