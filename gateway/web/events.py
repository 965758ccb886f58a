"""/events: the live regions of a page, or the lines of a try, for the script of that page."""

from collections.abc import AsyncIterable

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.live import LivePages
from gateway.web.open_pages import open_page
from gateway.web.routing import PageRequest, PageRouter, local_path

PATH = "/events"


class EventPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router
        records = control.records
        self._live = LivePages(lambda: records.changes, router.calls, control.tasks)

    @routing.get(PATH, "follow the live regions of a page, or the lines of a try")
    async def follow(self, page: PageRequest) -> Response:
        if name := page.query.get("try", ""):
            return _streamed(self._router.try_lines.follow(page.user.name, name))
        path = local_path(page.query.get("page", "/"))
        if not self._live.has_room(page.user.name):
            raise Refusal("gateway.overloaded", "too many live pages are open")
        events = self._live.events(page.user.name, open_page(self._router, path))
        return _streamed(events)


def _streamed(events: AsyncIterable[bytes]) -> Response:
    response = Response(events, content_type="text/event-stream")
    response.timeout = None
    return response
