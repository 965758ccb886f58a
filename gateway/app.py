"""The Quart application: the admin API, the pages, health, and the one error handler.

`make_app` uses no globals: everything that the application serves comes from the arguments.
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
from gateway.admin.route_table import ROUTES, admin_routes
from gateway.admin.routing.openapi import openapi
from gateway.admin.routing.router import Router, announces_body
from gateway.admin.routing.uploads import StreamedBody
from gateway.client_network import network_of
from gateway.control import Control
from gateway.control.audit.audit_log import request_id
from gateway.control.runtime_settings import RuntimeSettings
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
from gateway.web.forms import FORM_LIMIT
from gateway.web.headers import HSTS, security_headers
from gateway.web.site import Website, check_session_request

logger = logging.getLogger(__name__)

# A large response is sent in pieces of this size.
_PIECE = 256 * 1024
# A part of the gateway that does not respond within these seconds counts as failing.
_HEALTH_TIMEOUT = 2.0


class Services(NamedTuple):
    """The services that the application uses besides the control."""

    offload: OffloadedParser
    connections: ConnectionStats
    health: HealthChecks


def make_app(control: Control, services: Services, hosts: AllowedHosts) -> QuartTrio:
    """The application, ready to be served."""
    app = QuartTrio(__name__, static_folder=None)
    app.url_rule_class = _Rule
    app.asgi_http_class = _under_a_grant(control.accounts.grants)
    router = admin_router(control, services.connections)
    router.register(app)
    website = Website(control, services.connections.answers.total)
    website.register(app)
    app.request_class = _request_class(app, router, website, control.settings)
    _add_health(app, control, services.health, cache(lambda: msgspec.json.encode(openapi(ROUTES))))
    _add_hooks(app, control, hosts, router, website)
    _add_model_calls(app, control.endpoints, services.offload)
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
    """A rule that compiles its URL builder on first use. The gateway does not use URL builders, and
    compiling them for all routes takes a tenth of its start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., Any]:
        compiled = super()._compile_builder

        def build(rule: QuartRule, **values: Any) -> Any:
            return compiled(append_unknown)(rule, **values)

        return build


def _request_class(
    app: QuartTrio, router: Router, website: Website, settings: RuntimeSettings
) -> type[TrioRequest]:
    """Requests with the size limit of their route, whose bodies can slow an upload down.

    A handler could not set the limit: gotcha G1 in admin/README.
    """

    def endpoint_of(method: str, path: str) -> str:
        try:
            rule, _ = app.url_map.bind("").match(path, method, return_rule=True)
        except HTTPException:  # no such route, or a path with an extra `/`
            return ""
        return str(rule.endpoint)

    class LimitedRequest(TrioRequest):
        body_class = StreamedBody  # type: ignore[assignment]

        def __init__(self, method: str, scheme: str, path: str, *rest: Any, **named: Any) -> None:
            called = is_call(method, path)
            endpoint = "" if called else endpoint_of(method, path)
            route, now = router.route(endpoint), settings.current
            if called:
                most = now.max_request_size
            elif route is None:
                page = website.router.route(endpoint)
                most = page.max_form if page else FORM_LIMIT
                if page is not None and page.upload:
                    most = now.max_upload_size
            else:
                most = (
                    route.max_body
                    if isinstance(route.max_body, int)
                    else getattr(now, route.max_body)
                )
            named["max_content_length"] = self.max_content_length = most
            super().__init__(method, scheme, path, *rest, **named)
            assert isinstance(self.body, StreamedBody)
            page = website.router.route(endpoint)
            self.body.streamed = (route is not None and route.is_upload) or (
                page is not None and page.upload
            )

    return LimitedRequest


def _under_a_grant(grants: Grants) -> type[TrioASGIHTTPConnection]:
    """Requests whose responses end when the permission for them is revoked (`grants.py`)."""

    class Granted(TrioASGIHTTPConnection):
        async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            state: dict[str, Any] = self.scope["state"]
            with grants.one(state["cut"]) as state["grant"]:
                await super().__call__(receive, send)

        async def handle_messages(  # type: ignore[override]
            self, nursery: trio.Nursery, request: Any, receive: ASGIReceiveCallable
        ) -> None:
            # As in Quart, but an upload is read no faster than it is written.
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
        if not is_call(request.method, request.path):
            hosts.check(request.headers.get("Host", ""), request.path)
        # Checked by the headers alone, so that the body of a refused request is not read.
        if request.path.startswith(API_PREFIX):
            g.principal = authenticate(control.accounts)
            if principal().by == "session":
                check_session_request(request, control.urls.public)

    @app.after_request
    async def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.get("request_id", "")
        if not is_call(request.method, request.path):
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
            logger.exception(
                "request.failed method=%s path=%r", request.method, request.path, exc_info=error
            )
        if is_call(request.method, request.path):
            g.request_id = refused.request_id or g.request_id
            return _response(refusal_response(refused, g.request_id))
        event = router.pending_audit() or website.router.pending_audit()
        if event is not None and _unread():
            # The rest of the body would arrive while the request waits for the disk.
            control.audit_log.refused_later(event, refused.code)
        elif event is not None:
            await control.audit_log.refused(event, refused.code)
        if (page := await website.refuse(refused, g.request_id)) is not None:
            return page
        body = router.without_paths(errors.admin_body(refused))
        return Response(body, refused.kind.status, refused.headers, content_type="application/json")


def _unread() -> bool:
    """Whether the client is still sending its body."""
    body = request.body
    # Quart counts a body that is too large as complete, though more of it arrives.
    return announces_body() and (body._must_raise is not None or not body._complete.is_set())


def _refused(error: Exception) -> Refusal:
    if isinstance(error, RequestEntityTooLarge):
        most = request.max_content_length
        return Refusal("request.toolarge", f"the body is larger than {most} bytes")
    if isinstance(error, HTTPException):
        if error.code == 404:
            return Refusal("route.notfound", f"there is nothing at {request.path}")
        if error.code == 405:
            text = f"{request.path} has no method {request.method}"
            return Refusal("route.method", text, headers={"Allow": _allowed(error)})
        if error.code is not None and error.code < 500:
            return Refusal("argument.invalid", error.description or "bad request")
    return errors.refusal(error)


def _allowed(error: HTTPException) -> str:
    """The methods that a 405 must name (RFC 9110)."""
    return dict(error.get_headers()).get("Allow", "")


def _add_health(
    app: QuartTrio, control: Control, health: HealthChecks, description: Callable[[], bytes]
) -> None:
    level = control.workers.confinement.level
    healthy = msgspec.json.encode({"status": "ok", "isolation": level})

    @app.get("/livez")
    async def livez() -> Response:
        return _json(b'{"status":"ok"}')

    @app.get("/readyz")
    @app.get("/healthz")
    async def healthz() -> Response:
        if failing := await health.failing(_HEALTH_TIMEOUT):
            body = msgspec.json.encode({"status": "failing", "failing": failing})
            return Response(body, 503, content_type="application/json")
        return _json(healthy)

    @app.get("/openapi.json")
    async def openapi_json() -> Response:
        return _json(await trio.to_thread.run_sync(description))


def _add_model_calls(app: QuartTrio, endpoints: Endpoints, offload: OffloadedParser) -> None:
    """Adds calls of models on connections that Hypercorn already serves."""

    # These are not routes: Quart's routes treat one or two slashes at the end differently.
    @app.before_request
    async def call() -> Response | None:
        if not is_call(request.method, request.path):
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
        return _response(await predict(endpoints, offload, parsed, body, flow, g.request_id))


def _response(response: CallResponse) -> Response:
    headers = {**CORS, **response.headers}
    if response.size <= _PIECE:
        return Response(response.whole, response.status, headers, content_type=JSON)
    request.scope["state"]["charge_response"](response.size)
    # Copying the whole body at once takes some 10 ms.
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
