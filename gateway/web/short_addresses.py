"""/models/NAME and /m/NUMBER: addresses of a model that are short enough to say."""

import json

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.states import model_state

# Models whose name has the text in it.
_MOST = 1000
_DIGITS = 19


class ShortAddressPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get("/models/<name>", "go to the model of this name")
    async def by_name(self, page: PageRequest, name: str) -> Response:
        # A filter finds parts of names.
        wanted = json.dumps({"name": name[:128]})
        found = await page.api.get("/models", search_filter=wanted, page_size=_MOST, sort="name")
        exact = [model for model in found["models"] if model["name"] == name]
        if len(exact) == 1:
            return redirect(_path(exact[0]))
        if not exact:
            raise Refusal("model.notfound", f"there is no model {name!r} that you may view")
        return await self._router.reply(
            "search.html",
            page.viewer,
            text=name,
            projects=[],
            models=[(model, model_state(model)) for model in exact],
            more=False,
        )

    @routing.get("/m/<number>", "go to the model of this number")
    async def by_number(self, page: PageRequest, number: str) -> Response:
        if number.isdecimal() and len(number) < _DIGITS:
            wanted = json.dumps({"model_number": int(number)})
            found = await page.api.get("/models", search_filter=wanted)
            for model in found["models"]:
                return redirect(_path(model))
        raise Refusal("model.notfound", f"there is no model {number!r} that you may view")


def _path(model: dict[str, dict[str, str]]) -> str:
    return url("projects", model["project"]["id"], "models", model["id"])
