"""How a route of the admin API is written, and what is done for all of them.

A route is declared once, with its method, path, permission, body and summary; from that list come
Quart's rules, `/openapi.json` and the README's table, so the three cannot differ. Who has not the
permission is refused before the body is read, and a body that is larger than its route takes is
refused before the rest of it is read. A handler returns plain JSON values. What changes
state runs to its end even if the client hangs up, and is entered in the audit trail. An answer to a
GET ends with the rights that it is given by (`grants.py`), a stream as well as a page of JSON.

Requests are carried out in places that are shared between users: one who sends hundreds that take
long, or follows hundreds of logs, waits for themselves and takes no thread from others.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from quart import Blueprint, Response, g, request
from quart.wrappers.response import DataBody
from werkzeug.datastructures import FileStorage, MultiDict

from gateway.admin.audit_fields import given
from gateway.admin.json_body import BodyReader
from gateway.admin.uploads import close_files, files_of
from gateway.background import Tasks
from gateway.control.audit.audit_log import AuditEvent, AuditLog
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.fair_semaphore import FairSemaphore
from gateway.errors import API_PREFIX, Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.grants import Principal
from gateway.identity.permissions import Permission
from gateway.identity.principal import principal, require, require_again

# The largest body of a route that does not say otherwise, in bytes.
SMALL_BODY = 128 * 1024
# How many requests are carried out at once, and of one user; how many answers to one user may come
# in pieces at a time.
_AT_ONCE, _OF_ONE, _STREAMS_TO_ONE = 32, 16, 64
# Shown in place of the data folder's path, to all but site administrators.
_HIDDEN = b"(data folder)"
# How many uploads come in at once, and of one user: each takes its size on the disk meanwhile.
_UPLOADS_AT_ONCE, _UPLOADS_OF_ONE = 8, 4
Handler = Callable[..., Awaitable[Any]]
BodyType: TypeAlias = type[msgspec.Struct] | type[MultiDict[str, FileStorage]]


class Route(msgspec.Struct, frozen=True):
    """One route. `path` is Quart's, below the prefix; `needs` is asked of who may do it, in the
    project or about the user that the path names; `takes` is the Struct of its JSON body, or
    MultiDict for the files of a form, `most` how large a body may be: in bytes, or the name of the
    site setting that says so. `query` is what may stand behind a `?`, `gives` the media types of
    its answers. `action` is what the audit trail calls it: none for what changes nothing.
    `streams` says that its answer may come in pieces, for as long as it takes; `often` that the
    audit trail counts what is alike instead of entering each."""

    method: str
    path: str
    needs: Permission
    summary: str
    handler: Handler
    takes: BodyType | None = None
    most: int | str = SMALL_BODY
    query: tuple[str, ...] = ()
    gives: tuple[str, ...] = ("application/json",)
    action: str = ""
    streams: bool = False
    often: bool = False

    @property
    def is_upload(self) -> bool:
        """Its body goes to files as it comes."""
        return self.takes is not None and issubclass(self.takes, MultiDict)

    @property
    def openapi_path(self) -> str:
        return API_PREFIX + self.path.replace("<path:", "{").replace("<", "{").replace(">", "}")


class Router:
    """Collects routes, then makes a blueprint of them."""

    def __init__(
        self, tasks: Tasks, directory: Accounts, trail: AuditLog, spool: TemporaryFiles, root: Path
    ) -> None:
        self.routes: list[Route] = []
        self._tasks = tasks
        self._directory = directory
        self._trail = trail
        self._spool = spool
        # As it stands in JSON.
        self._root = msgspec.json.encode(str(root))[1:-1]
        self._places = FairSemaphore(_AT_ONCE, _OF_ONE)
        self._receiving = FairSemaphore(_UPLOADS_AT_ONCE, _UPLOADS_OF_ONE)

    def add(
        self,
        method: str,
        path: str,
        needs: Permission,
        summary: str,
        handler: Handler,
        takes: BodyType | None = None,
        *,
        most: int | str = SMALL_BODY,
        query: tuple[str, ...] = (),
        gives: tuple[str, ...] = ("application/json",),
        action: str = "",
        streams: bool = False,
        often: bool = False,
    ) -> None:
        # Only what answers a GET ends with the rights that it is given by.
        assert not streams or method == "GET", path
        self.routes.append(
            Route(
                method,
                path,
                needs,
                summary,
                handler,
                takes,
                most,
                query,
                gives,
                action,
                streams,
                often,
            )
        )

    def blueprint(self) -> Blueprint:
        blueprint = Blueprint("admin", __name__, url_prefix=API_PREFIX)
        for number, route in enumerate(self.routes):
            blueprint.add_url_rule(
                route.path,
                endpoint=f"{number}",
                view_func=self._view(route),
                methods=[route.method],
                provide_automatic_options=False,
            )
        return blueprint

    def _view(self, route: Route) -> Callable[..., Awaitable[Response]]:
        reader = None
        if route.takes is not None and issubclass(route.takes, msgspec.Struct):
            reader = BodyReader(route.takes)

        async def view(**values: str) -> Response:
            project_id, about = values.get("project_id", ""), values.get("username", "")
            require(self._directory, route.needs, project_id, about)
            arguments: list[Any] = list(values.values())
            told = ""
            async with AsyncExitStack() as place:
                if reader is not None:
                    arguments.append(body := reader.read(await _json()))
                    told = "" if route.often else given(body)
                elif route.takes is not None:
                    await place.enter_async_context(self._receiving.acquire(principal().flow))
                    arguments.append(files := await files_of(request, self._spool))
                    place.callback(close_files, files)
                elif announces_body():
                    await request.get_data(cache=False)  # it is of no use, and bounded as any other
                # A body may have taken its time to come.
                require(self._directory, route.needs, project_id, about)
                await place.enter_async_context(self._places.acquire(principal().flow))
                # The body may have taken its time to come, and so may the place.
                require(self._directory, route.needs, project_id, about)
                if not route.action:
                    result = await route.handler(*arguments)
                else:
                    g.entered = True
                    act = _act(route, told)
                    result = await self._tasks.finish(
                        self._carry_out, place.pop_all(), act, route.handler, *arguments
                    )
            if route.method == "GET":
                require_again(self._directory)
            if isinstance(result, Response):
                if not isinstance(result.response, DataBody):
                    self._admit_stream()
                return _checked(route, result)
            reply = self.told(msgspec.json.encode(result))
            return Response(reply, content_type="application/json")

        return view

    def told(self, body: bytes) -> bytes:
        """A body of JSON, of a reply or a refusal, as it goes out: where the data folder lies is
        for site administrators, and messages may say it."""
        who: Principal | None = g.get("principal")
        shows = who is not None and who.user.administrator
        return body if shows else body.replace(self._root, _HIDDEN)

    async def _carry_out(
        self, place: AsyncExitStack, act: AuditEvent, handler: Handler, *arguments: Any
    ) -> Any:
        """Its place is taken until it has ended, also when no caller waits for it any more."""
        async with place:
            return await self._trail.run_audited(act, handler, *arguments)

    def _admit_stream(self) -> None:
        who = principal()
        if self._directory.grants.sending_to(who.flow) > _STREAMS_TO_ONE:
            text = f"{_STREAMS_TO_ONE} answers to {who.user.name} are being sent already"
            raise Refusal("gateway.overloaded", text)

    def route_of(self, endpoint: str) -> Route | None:
        """The route that has an endpoint of Quart's; None where that is not of the admin API."""
        if not endpoint.startswith("admin."):
            return None
        return self.routes[int(endpoint.removeprefix("admin."))]

    def not_entered(self) -> AuditEvent | None:
        """What the running request asks for, if that changes something and has no entry yet."""
        rule = request.url_rule
        route = None if rule is None or g.get("entered") else self.route_of(rule.endpoint)
        return _act(route) if route is not None and route.action else None


def _checked(route: Route, response: Response) -> Response:
    """An answer that a handler made. One that comes in pieces has to be declared."""
    if isinstance(response.response, DataBody):
        return response
    if not route.streams:
        raise RuntimeError(f"{route.method} {route.path} streams, and does not say so")
    response.timeout = None
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _act(route: Route, told: str = "") -> AuditEvent:
    """What the running request asks for."""
    who: Principal | None = g.get("principal")
    path = request.path.removeprefix(API_PREFIX)
    verb = ">:" in route.path
    return AuditEvent(
        user=who.user.name if who else "",
        address=request.remote_addr or "",
        action=route.action,
        object=path.rpartition(":")[0] if verb else path,
        detail="; ".join(filter(None, (f"by {who.by}" if who else "", told))),
        makes=route.method == "POST" and not verb,
        often=route.often,
    )


def announces_body() -> bool:
    """Whether a body comes behind the head of the running request."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


async def _json() -> bytes:
    """The request's body. Raises Refusal where it is said to be no JSON."""
    if request.mimetype not in ("application/json", ""):
        raise Refusal("request.media", f"{request.mimetype} is not application/json")
    body = await request.get_data(cache=False)
    assert isinstance(body, bytes)
    return body or b"{}"
