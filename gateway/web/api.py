"""The admin API, called by the pages in this process.

A page shows what the API returns, and a form sends what a program would send. So the rules of a
route hold for both: its permission, the bounds of its body, its audit entry, the fair share of its
user. A page has no other way to the control, except for what only browsers do, such as to sign in.

A call is a request in the request of the page: it has the same principal and the same grant, so the
response to a page ends with every right that was checked for a part of it.

A page takes only the type of reply that it asks for: a path of a user's can lead to the content of
a file (`files/x:download`), which is not data of the API and can be larger than the memory.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import quote, unquote, urlencode

import msgspec
import trio
from quart import Response, g, request
from quart_trio import QuartTrio
from quart_trio.wrappers.request import TrioRequest
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from gateway.control.records import NotFound
from gateway.errors import API_PREFIX, Refusal, refusal
from gateway.identity.principal import grant
from gateway.web.inner_request import inner_request
from gateway.web.inputs import PageInputs

_JSON, _JSON_LINES, _TEXT = "application/json", "application/x-ndjson", "text/plain"
_TEST = "X-Predictd-Test"  # marks the call in the requests of the model


T = TypeVar("T")


class ModelAnswer(NamedTuple):
    """How a call of a model was answered."""

    status: int
    body: str
    request_id: str
    seconds: float


class Api:
    """Calls routes of the admin API for the user of the running request."""

    def __init__(self, app: QuartTrio) -> None:
        self._app = app

    async def get(self, path: str, **query: object) -> Any:
        """What a route returns. Raises Refusal or NotFound, as the route does."""
        return await self._call("GET", path, query=query)

    async def part(self, choose: Callable[[Any], T], path: str, **query: object) -> T:
        """What `choose` takes from what a route returns: what else is in it changes no page."""
        inputs, g.inputs = g.get("inputs"), None
        try:
            found = choose(await self.get(path, **query))
        finally:
            g.inputs = inputs
        if inputs is not None:
            inputs.note(path, msgspec.json.encode(found))
        return found

    async def get_as(self, kind: type[T], path: str, **query: object) -> T:
        """As `get`, in the types of `kind`: for what takes too long to decode at once."""
        return msgspec.json.decode(await self._data("GET", path, query=query), type=kind)

    async def text(self, path: str, **query: object) -> str:
        """The text that a route returns, such as a log."""
        data = await self._data("GET", path, query=query, accept=_TEXT)
        return data.decode(errors="replace")

    async def items(self, path: str, plural: str) -> list[Any]:
        """All items of a list that is known to be short."""
        found, token = [], ""
        while True:
            page = await self.get(path, page_size=1000, page_token=token)
            found += page[plural]
            if not (token := page["next_page_token"]):
                return found

    async def latest(self, path: str, plural: str, number: str) -> dict[str, Any] | None:
        """The item of a list that has the highest `number`, if it has any."""
        page = await self.get(path, sort=f"-{number}", page_size=1)
        return next(iter(page[plural]), None)

    async def lines(self, path: str, **query: object) -> list[Any]:
        """What a route returns as JSON lines."""
        data = await self._data("GET", path, query=query, accept=_JSON_LINES)
        return [msgspec.json.decode(line) for line in data.splitlines()]

    async def post(self, path: str, body: object = None) -> Any:
        return await self._call("POST", path, body)

    async def patch(self, path: str, body: object) -> Any:
        return await self._call("PATCH", path, body)

    async def put(self, path: str, body: object) -> Any:
        return await self._call("PUT", path, body)

    async def upload(self, path: str) -> None:
        """Has the files of the running request's form read by a route that takes uploads."""
        headers = Headers({"Accept": _JSON, "Host": request.host})
        for name in ("Content-Type", "Content-Length"):
            if value := request.headers.get(name):
                headers[name] = value
        target = API_PREFIX + unquote(path)
        inner = inner_request(self._app, request, "PUT", target, headers=headers)
        inner.body = request.body
        await self._answer(inner, f"PUT {path}")

    async def delete(self, path: str, **query: object) -> Any:
        return await self._call("DELETE", path, query=query)

    @asynccontextmanager
    async def events(self, path: str) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """The server-sent events of a route, as (name, data). The route's response ends with the
        block."""
        headers = Headers({"Accept": "text/event-stream", "Host": request.host})
        inner = inner_request(self._app, request, "GET", API_PREFIX + path, headers=headers)
        sending = grant().sending
        try:
            async with self._app.request_context(inner) as context:
                response = cast(Response, await self._app.dispatch_request(context))
                async with response.response as body, aclosing(_events(body)) as events:
                    yield events
        finally:
            grant().sending = sending

    async def call_model(self, body: bytes, key: str) -> ModelAnswer:
        """A call of a model as its callers make it: with their key, not with the session."""
        headers = Headers({"Content-Type": _JSON, "Host": request.host, _TEST: "1"})
        headers["Content-Length"] = str(len(body))
        if key:
            headers["Authorization"] = f"Bearer {key}"
        inner = inner_request(self._app, request, "POST", "/model", headers=headers, body=body)
        answers: list[ModelAnswer] = []

        async def call() -> None:
            began = trio.current_time()
            async with self._app.app_context(), self._app.request_context(inner) as context:
                response = cast(Response, await self._app.full_dispatch_request(context))
                text = await response.get_data(as_text=True)
            seconds = trio.current_time() - began
            number = response.headers.get("X-Request-Id", "")
            answers.append(ModelAnswer(response.status_code, text, number, seconds))

        # In a task of its own, whose request id is not that of the page.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
        return answers[0]

    async def _call(
        self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None
    ) -> Any:
        data = await self._data(method, path, body, query)
        return msgspec.json.decode(data) if data else {}

    async def _data(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
        *,
        accept: str = _JSON,
    ) -> bytes:
        inner = self._request(method, path, body, query or {}, accept)
        inputs: PageInputs | None = g.get("inputs")
        try:
            data = await self._answer(inner, f"{method} {path}", accept)
        except (Refusal, NotFound) as error:
            if inputs is not None:
                inputs.note(inner.full_path, repr(error).encode())
            raise
        if inputs is not None:
            inputs.note(inner.full_path, data)
        return data

    async def _answer(self, inner: TrioRequest, what: str, accept: str = _JSON) -> bytes:
        sending = grant().sending
        try:
            async with self._app.request_context(inner) as context:
                try:
                    response = cast(Response, await self._app.dispatch_request(context))
                    if response.mimetype != accept:
                        async with response.response:  # closes a file, which is not read
                            raise Refusal("route.notfound", f"{what}: no {accept}")
                    data: bytes = await response.get_data(as_text=False)
                except HTTPException as error:
                    problem = f"{what}: {error.name}"
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
        # Several calls without a wait would be one step of the loop.
        await trio.lowlevel.checkpoint()
        return data

    def _request(
        self, method: str, path: str, body: object, query: Mapping[str, object], accept: str
    ) -> TrioRequest:
        content = b"" if body is None else msgspec.json.encode(body)
        headers = Headers({"Content-Type": _JSON, "Accept": accept, "Host": request.host})
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


async def _events(body: AsyncIterable[bytes]) -> AsyncGenerator[tuple[str, Any], None]:
    text = b""
    async for data in body:
        *whole, text = (text + data).split(b"\n\n")
        for event in whole:
            name, _, content = event.partition(b"\ndata: ")
            if content:
                yield name.removeprefix(b"event: ").decode(), msgspec.json.decode(content)


async def usable_gpus(api: Api) -> int:
    """How many GPUs of the machine can be assigned; forms without any do not ask for them."""
    site = await api.get("/site")
    return int(site["gpus"]["usable"])
