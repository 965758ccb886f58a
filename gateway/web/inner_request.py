"""A request in a request: of the same connection, so with the same client address and grant."""

from typing import cast

from hypercorn.typing import HTTPScope
from quart import Request
from quart_trio import QuartTrio
from quart_trio.wrappers.request import TrioRequest
from werkzeug.datastructures import Headers


def inner_request(
    app: QuartTrio,
    outer: Request,
    method: str,
    path: str,
    query: bytes = b"",
    *,
    headers: Headers,
    body: bytes = b"",
) -> TrioRequest:
    """A request for `path`, which is not quoted, with its whole body."""
    inner = app.request_class(
        method,
        outer.scheme,
        path,
        query,
        headers,
        outer.root_path,
        outer.http_version,
        cast(HTTPScope, outer.scope),
        send_push_promise=_no_push,
    )
    inner.body.append(body)
    inner.body.set_complete()
    return inner


async def _no_push(path: str, headers: Headers) -> None:
    """No page asks for server push."""
