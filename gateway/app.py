"""The Quart application: the admin API, the model routes, health, and the one error handler.

`make_app` has no globals: everything it serves hangs on what it is given.
"""

import logging
import uuid
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any, NamedTuple, cast

import msgspec
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart import Response, g, request
from quart.routing import QuartRule
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioRequest
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from gateway import errors
from gateway.admin.routes import ROUTES, admin_routes
from gateway.admin.routing.openapi import openapi
from gateway.admin.routing.route import AdminRoute
from gateway.admin.routing.router import Router, announces_body
from gateway.admin.routing.uploads import StreamedBody
from gateway.client_network import network_of
from gateway.control import Control
from gateway.control.audit.audit_log import request_id
from gateway.control.context import ControlContext
from gateway.errors import API_PREFIX, Refusal
from gateway.http.context import ConnectionStats
from gateway.http.host_check import AllowedHosts, is_public_name
from gateway.identity.grants import Grants
from gateway.identity.principal import authenticate, principal
from gateway.operations.health import HealthChecks
from gateway.predictions.call import (
    CORS,
    JSON,
    CallResponse,
    is_call,
    parse_call,
    refusal_response,
)
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import OffloadedParser
from gateway.predictions.prediction import predict
from gateway.web.headers import HSTS, security_headers
from gateway.web.site import Website, check_session_request

logger = logging.getLogger(__name__)

# The largest body for what is no route of the admin API: the forms of our pages. To read it takes
# less than a millisecond.
FORM_LIMIT = 4 * 1024
# A large response is sent in pieces of this size.
_PIECE = 256 * 1024
# A part of the gateway that gives no sign for so long is failing, as far as health goes.
_PATIENCE = 2.0


class Services(NamedTuple):
    """What the application uses beside the control."""

    offload: OffloadedParser
    traffic: ConnectionStats
    health: HealthChecks


def make_app(control: Control, services: Services, hosts: AllowedHosts) -> QuartTrio:
    """The application, ready to be served."""
    app = QuartTrio(__name__, static_folder=None)
    app.url_rule_class = _Rule
    app.asgi_http_class = _under_a_grant(control.context.accounts.grants)
    router = admin_router(control, services.traffic)
    router.register(app)
    app.request_class = _request_class(app, router, control.context)
    _add_health(app, control, services.health, cache(lambda: msgspec.json.encode(openapi(ROUTES))))
    website = Website(control)
    website.register(app)
    _add_hooks(app, control, hosts, router, website)
    _add_model_calls(app, control.context.endpoints, services.offload)
    return app


def admin_router(control: Control, connections: ConnectionStats) -> Router:
    """The router of the admin API."""
    return Router(
        admin_routes(control, connections),
        control.tasks,
        control.accounts,
        control.audit_log,
        control.temporary_files,
        control.data.root,
    )


class _Rule(QuartRule):
    """A route whose way back, from its name to a URL, is compiled when somebody asks for it: nobody
    does here, and for all routes it takes a tenth of the gateway's start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., Any]:
        compiled = super()._compile_builder

        def build(rule: QuartRule, **values: Any) -> Any:
            return compiled(append_unknown)(rule, **values)

        return build


def _request_class(app: QuartTrio, router: Router, context: ControlContext) -> type[TrioRequest]:
    """Requests that know how large their body may be, and where the files in it wait.

    A handler could not set the limit: gotcha G1 in admin/README.
    """
    site = context.runtime_settings

    def route_of(method: str, path: str) -> AdminRoute | None:
        try:
            rule, _ = app.url_map.bind("").match(path, method, return_rule=True)
        except HTTPException:  # there is no such route, or its path has a `/` too many
            return None
        return router.route(rule.endpoint)

    class LimitedRequest(TrioRequest):
        body_class = StreamedBody  # type: ignore[assignment]

        def __init__(self, method: str, scheme: str, path: str, *rest: Any, **named: Any) -> None:
            route = None if is_call(path) else route_of(method, path)
            now = site.current
            if is_call(path):
                most = now.max_request_size
            elif route is None:
                most = FORM_LIMIT
            else:
                most = (
                    route.max_body
                    if isinstance(route.max_body, int)
                    else getattr(now, route.max_body)
                )
            named["max_content_length"] = self.max_content_length = most
            super().__init__(method, scheme, path, *rest, **named)
            assert isinstance(self.body, StreamedBody)
            self.body.streamed = route is not None and route.is_upload

    return LimitedRequest


def _under_a_grant(grants: Grants) -> type[TrioASGIHTTPConnection]:
    """Requests whose answers end with the rights that they are given by (`auth.grant`)."""

    class Granted(TrioASGIHTTPConnection):
        async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            state: dict[str, Any] = self.scope["state"]
            with grants.one(state["cut"]) as state["grant"]:
                await super().__call__(receive, send)

        async def handle_messages(  # type: ignore[override]
            self, nursery: trio.Nursery, request: Any, receive: ASGIReceiveCallable
        ) -> None:
            # As Quart's own, but an upload comes no faster than it is written.
            while (message := await receive())["type"] == "http.request":
                request.body.append(message["body"])
                if not message["more_body"]:
                    request.body.set_complete()
                await request.body.wait_for_room()
            nursery.cancel_scope.cancel()

    return Granted


def _add_hooks(
    app: QuartTrio, control: Control, hosts: AllowedHosts, router: Router, website: Website
) -> None:
    @app.before_request
    async def begin() -> None:
        g.request_id = str(uuid.uuid4())
        request_id.set(g.request_id)
        if not is_call(request.path):
            hosts.check(request.headers.get("Host", ""), request.path)
        # On the headers alone: whoever is not let in has no body of theirs read.
        if request.path.startswith(API_PREFIX):
            g.principal = authenticate(control.context.accounts)
            if principal().by == "session":
                check_session_request(request, control.context.urls.public)

    @app.after_request
    async def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.get("request_id", "")
        if not is_call(request.path):
            kept = response.headers.get("Cache-Control", "")
            response.headers.update(security_headers(response.content_type or "", kept))
            if request.is_secure and is_public_name(request.headers.get("Host", "")):
                response.headers["Strict-Transport-Security"] = HSTS
        if _unread() and request.http_version.startswith("1"):
            response.headers["Connection"] = "close"  # gotcha G4 in http/README
        return response

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        refused = _refused(error)
        if refused.code == "internal":
            logger.exception("request %s %s failed", request.method, request.path, exc_info=error)
        if is_call(request.path):
            return _response(refusal_response(refused, g.request_id))
        event = router.pending_audit() or website.router.pending_audit()
        if event is not None and _unread():
            # The rest of the body would arrive while the request waits for the disk.
            control.audit_log.refused_later(event, refused.code)
        elif event is not None:
            await control.audit_log.refused(event, refused.code)
        if (page := website.refuse(refused, g.request_id)) is not None:
            return page
        body = router.without_paths(errors.admin_body(refused))
        return Response(body, refused.kind.status, refused.headers, content_type="application/json")


def _unread() -> bool:
    """Whether the client is still sending its body."""
    body = request.body
    # A body that grew too large counts as complete, though more of it comes.
    return announces_body() and (body._must_raise is not None or not body._complete.is_set())


def _refused(error: Exception) -> Refusal:
    if isinstance(error, RequestEntityTooLarge):
        most = request.max_content_length
        return Refusal("request.toolarge", f"the body is larger than {most} bytes")
    if isinstance(error, HTTPException):
        if error.code == 404:
            return Refusal("route.notfound", f"there is nothing at {request.path}")
        if error.code == 405:
            text = f"{request.path} does not take {request.method}"
            return Refusal("route.method", text, headers={"Allow": _allowed(error)})
        if error.code is not None and error.code < 500:
            return Refusal("argument.invalid", error.description or "a bad request")
    return errors.refusal(error)


def _allowed(error: HTTPException) -> str:
    """The methods that a 405 has to name (RFC 9110)."""
    return dict(error.get_headers()).get("Allow", "")


def _add_health(
    app: QuartTrio, control: Control, vitals: HealthChecks, description: Callable[[], bytes]
) -> None:
    level = control.context.workers.confinement.level
    healthy = msgspec.json.encode({"status": "ok", "isolation": level})

    @app.get("/livez")
    async def livez() -> Response:
        return _json(b'{"status":"ok"}')

    @app.get("/readyz")
    @app.get("/healthz")
    async def healthz() -> Response:
        if ailing := await vitals.failing(_PATIENCE):
            told = {"status": "failing", "failing": ailing}
            return Response(msgspec.json.encode(told), 503, content_type="application/json")
        return _json(healthy)

    @app.get("/openapi.json")
    async def openapi_json() -> Response:
        return _json(await trio.to_thread.run_sync(description))


def _add_model_calls(app: QuartTrio, endpoints: Endpoints, offload: OffloadedParser) -> None:
    """Calls that come on a connection which Hypercorn serves already."""

    # Not as routes: Quart's would treat a slash at the end, or two, in another way.
    @app.before_request
    async def call() -> Response | None:
        if not is_call(request.path):
            return None
        parsed = parse_call(
            request.method,
            request.path,
            request.query_string.decode("ascii"),
            request.headers.get,
        )
        if isinstance(parsed, CallResponse):
            return _response(parsed)
        body = cast(bytes, await request.get_data(cache=False))
        flow = network_of(request.remote_addr or "")
        return _response(await predict(endpoints, offload, parsed, body, flow))


def _response(response: CallResponse) -> Response:
    headers = {**CORS, **response.headers}
    if response.size <= _PIECE:
        return Response(response.whole, response.status, headers, content_type=JSON)
    request.scope["state"]["charge_response"](response.size)
    # Copying all of it at once takes some 10 ms.
    streamed = Response(_pieces(response), response.status, headers, content_type=JSON)
    streamed.content_length = response.size
    streamed.timeout = None  # each send has a deadline of its own
    return streamed


async def _pieces(response: CallResponse) -> AsyncIterator[bytes]:
    yield response.before
    body = memoryview(response.body)
    for first in range(0, len(body), _PIECE):
        yield bytes(body[first : first + _PIECE])
    yield response.after


def _json(body: bytes) -> Response:
    return Response(body, content_type=JSON)
