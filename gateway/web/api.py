"""The admin API, called by the pages in this process.

A page shows what the API returns, and a form sends what a program would send. So the rules of a
route hold for both: its permission, the bounds of its body, its audit entry, the fair share of its
user. A page has no other way to the control, except for what only browsers do, such as to sign in.

A call is a request in the request of the page: it has the same principal and the same grant, so the
response to a page ends with every right that was checked for a part of it.
"""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, unquote, urlencode

import msgspec
from quart import Response, request
from quart_trio import QuartTrio
from quart_trio.wrappers.request import TrioRequest
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from gateway.control.records import NotFound
from gateway.errors import API_PREFIX, Refusal, refusal
from gateway.identity.principal import grant
from gateway.web.inner_request import inner_request

_JSON = "application/json"


class Api:
    """Calls routes of the admin API for the user of the running request."""

    def __init__(self, app: QuartTrio) -> None:
        self._app = app

    async def get(self, path: str, **query: object) -> Any:
        """What a route returns. Raises Refusal or NotFound, as the route does."""
        return await self._call("GET", path, query=query)

    async def items(self, path: str, plural: str, **query: object) -> list[Any]:
        """All items of a list that is known to be short: at most 1,000."""
        found = await self.get(path, page_size=1000, **query)
        return list(found[plural])

    async def post(self, path: str, body: object = None) -> Any:
        return await self._call("POST", path, body)

    async def patch(self, path: str, body: object) -> Any:
        return await self._call("PATCH", path, body)

    async def put(self, path: str, body: object) -> Any:
        return await self._call("PUT", path, body)

    async def delete(self, path: str, **query: object) -> Any:
        return await self._call("DELETE", path, query=query)

    async def _call(
        self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None
    ) -> Any:
        inner = self._request(method, path, body, query or {})
        sending = grant().sending
        try:
            async with self._app.request_context(inner) as context:
                try:
                    response = cast(Response, await self._app.dispatch_request(context))
                    data = await response.get_data(as_text=False)
                except HTTPException as error:
                    problem = f"{method} {path}: {error.name}"
                    raise Refusal("route.notfound", problem) from error
                except NotFound:
                    raise
                except Exception as error:
                    refused = refusal(error)
                    if refused is error or refused.code == "internal":
                        raise
                    raise refused from error
        finally:
            # The page's own check of its rights begins the sending, not one of a part.
            grant().sending = sending
        return msgspec.json.decode(data) if data else {}

    def _request(
        self, method: str, path: str, body: object, query: Mapping[str, object]
    ) -> TrioRequest:
        content = b"" if body is None else msgspec.json.encode(body)
        headers = Headers({"Content-Type": _JSON, "Accept": _JSON, "Host": request.host})
        if content:
            headers["Content-Length"] = str(len(content))
        text = urlencode({name: value for name, value in query.items() if value != ""})
        return inner_request(
            self._app,
            request,
            method,
            API_PREFIX + unquote(path),
            text.encode(),
            headers=headers,
            body=content,
        )


def url(*parts: object) -> str:
    """A path of the given parts, each quoted."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)
