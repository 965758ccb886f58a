"""An open page, which its stream of events renders again and again (`live.py`)."""

from typing import cast
from urllib.parse import unquote

import trio
from quart import Response, g
from quart.globals import request_ctx
from werkzeug.exceptions import HTTPException

from gateway.control.records import NotFound
from gateway.errors import Refusal
from gateway.web.inner_request import inner_request
from gateway.web.inputs import PageInputs, Unchanged
from gateway.web.live import SELDOM, OpenPage, PageGone, Rendered
from gateway.web.routing import HTML, Page, PageRouter


def open_page(router: PageRouter, path: str) -> OpenPage:
    """The page at `path`, rendered as for a request of the same user, under the grant of the
    running request."""
    app, outer = router.app, request_ctx.request
    address, _, query = path.partition("?")
    address = unquote(address)
    inputs = PageInputs()
    page = _page_at(router, address)

    async def render() -> Rendered:
        if page is None:
            raise PageGone
        inner = inner_request(app, outer, "GET", address, query.encode(), headers=outer.headers)
        async with app.app_context(), app.request_context(inner) as context:
            g.inputs = inputs
            await trio.lowlevel.checkpoint()
            try:
                with inputs.run():
                    response = cast(Response, await app.dispatch_request(context))
            except (Refusal, NotFound) as error:
                raise PageGone from error
            except Unchanged:
                return Rendered(None, g.get("refresh", SELDOM))
            if response.status_code != 200 or response.content_type != HTML:
                raise PageGone
            html = await response.get_data(as_text=True)
            return Rendered(html, g.get("refresh", SELDOM))

    return OpenPage(render, slow=page is not None and page.slow)


def _page_at(router: PageRouter, address: str) -> Page | None:
    try:
        rule, _ = router.app.url_map.bind("").match(address, "GET", return_rule=True)
    except HTTPException:
        return None
    return router.route(rule.endpoint)
