"""/styleguide: every component of the pages, with samples, for developers of pages."""

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter

_COLUMNS = (Column("Name", "name"), Column("Status"), Column("Requests", "requests", number=True))


class StyleguidePages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get("/styleguide", "show the components of all pages")
    async def show(self, page: PageRequest) -> Response:
        sample = Refusal("argument.invalid", "name: it is empty", advice="type a name")
        return await self._router.reply(
            "styleguide.html",
            page.viewer,
            columns=_COLUMNS,
            listing=Listing(page.query, sort="name"),
            sample=sample,
        )
