"""What the admin API does for every route, before and after its handler.

A request without the route's permission is refused before its body is read, and a body larger than
the route allows is refused before the rest of it is read. A handler returns plain JSON values. A
change runs to its end even if the client disconnects, and is recorded in the audit log. An answer
to a GET ends with the rights under which it is sent (`grants.py`), a stream as well as JSON.

Users share the number of requests that run at once: a user who sends hundreds of slow requests, or
follows hundreds of logs, waits and takes no thread from others.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from quart import Quart, Response, g, request
from quart.wrappers.response import DataBody

from gateway.admin.routing.audit_fields import audit_summary
from gateway.admin.routing.json_body import BodyReader
from gateway.admin.routing.manifest_uploads import ManifestUpload, manifest_upload_of
from gateway.admin.routing.route import AdminRoute
from gateway.admin.routing.uploads import close_files, files_of
from gateway.background import Tasks
from gateway.control.audit.audit_log import AuditEvent, AuditLog
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.fair_semaphore import FairSemaphore
from gateway.errors import API_PREFIX, Refusal
from gateway.identity.accounts import Accounts
from gateway.identity.grants import Principal
from gateway.identity.principal import principal, require, require_again
from gateway.route_declaration import Handler, RouteTable, mark_audited

# Requests that run at once, in total and of one user.
_MAX_RUNNING, _MAX_RUNNING_OF_ONE = 32, 16
# Answers that are sent to one user in pieces at the same time.
_MAX_STREAMS = 64
# Uploads at once, in total and of one user: each takes its size on the disk meanwhile.
_MAX_UPLOADS, _MAX_UPLOADS_OF_ONE = 8, 4
# Replaces the data folder's path, for all but site administrators.
_HIDDEN = b"(data folder)"


class Router:
    """Registers the routes of the admin API and runs their handlers."""

    def __init__(
        self,
        routes: Iterable[AdminRoute],
        tasks: Tasks,
        accounts: Accounts,
        audit_log: AuditLog,
        temporary_files: TemporaryFiles,
        root: Path,
    ) -> None:
        self._table = RouteTable(routes, API_PREFIX)
        self._tasks = tasks
        self._accounts = accounts
        self._audit_log = audit_log
        self._temporary_files = temporary_files
        self._root = msgspec.json.encode(str(root))[1:-1]  # as JSON has it
        self._running = FairSemaphore(_MAX_RUNNING, _MAX_RUNNING_OF_ONE)
        self._uploads = FairSemaphore(_MAX_UPLOADS, _MAX_UPLOADS_OF_ONE)

    def register(self, app: Quart) -> None:
        self._table.register(app, self._view)

    def route(self, endpoint: str) -> AdminRoute | None:
        """The route that has an endpoint of Quart's, if it is one of the admin API."""
        return self._table.get(endpoint)

    def _view(self, route: AdminRoute) -> Callable[..., Awaitable[Response]]:
        reader = None
        if route.body is not None and issubclass(route.body, msgspec.Struct):
            reader = BodyReader(route.body)

        async def view(**arguments: Any) -> Response:
            project_id, about = arguments.get("project_id", ""), arguments.get("username", "")
            require(self._accounts, route.permission, project_id, about)
            summary = ""
            async with AsyncExitStack() as stack:
                if reader is not None:
                    arguments["body"] = body = reader.read(await _json())
                    summary = "" if route.counted else audit_summary(body)
                elif route.is_upload:
                    await stack.enter_async_context(self._uploads.acquire(principal().flow))
                    arguments["body"] = await self._uploaded(route, stack)
                elif announces_body():
                    await request.get_data(cache=False)  # unused, and bounded as any other
                # The permission may be gone by the time that the body has come.
                require(self._accounts, route.permission, project_id, about)
                await stack.enter_async_context(self._running.acquire(principal().flow))
                require(self._accounts, route.permission, project_id, about)
                work = partial(route.handler, **arguments, **route.constants)
                if not route.audit:
                    result = await work()
                else:
                    mark_audited()
                    event = _audit_event(route, summary)
                    result = await self._tasks.finish(self._run, stack.pop_all(), event, work)
            if route.method == "GET":
                require_again(self._accounts)
            if isinstance(result, Response):
                if not isinstance(result.response, DataBody):
                    self._admit_stream()
                return _checked(route, result)
            reply = self.without_paths(msgspec.json.encode(result))
            return Response(reply, content_type="application/json")

        return view

    async def _uploaded(self, route: AdminRoute, stack: AsyncExitStack) -> object:
        """The body of an upload; its files are removed when the stack ends."""
        if route.body is ManifestUpload:
            upload = manifest_upload_of(request, self._temporary_files)
            return await stack.enter_async_context(upload)
        files = await files_of(request, self._temporary_files)
        stack.callback(close_files, files)
        return files

    def without_paths(self, body: bytes) -> bytes:
        """A JSON body without the data folder's path, which only site administrators may see.
        Messages of errors may contain it."""
        who: Principal | None = g.get("principal")
        shows = who is not None and who.user.administrator
        return body if shows else body.replace(self._root, _HIDDEN)

    async def _run(self, stack: AsyncExitStack, event: AuditEvent, work: Handler) -> Any:
        """Holds the request's slot until the work ends, also when its client has disconnected."""
        async with stack:
            return await self._audit_log.run_audited(event, work)

    def _admit_stream(self) -> None:
        who = principal()
        if self._accounts.grants.sending_to(who.flow) > _MAX_STREAMS:
            text = f"{_MAX_STREAMS} answers to {who.user.name} are being sent already"
            raise Refusal("gateway.overloaded", text)

    def pending_audit(self) -> AuditEvent | None:
        """The change that the running request asks for, if it has no audit entry yet."""
        route = self._table.unaudited()
        return _audit_event(route) if route is not None else None


def _checked(route: AdminRoute, response: Response) -> Response:
    """A response that a handler made. One that comes in pieces has to be declared."""
    if isinstance(response.response, DataBody):
        return response
    if not route.streams:
        raise RuntimeError(f"{route.method} {route.path} streams but does not declare it")
    response.timeout = None
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _audit_event(route: AdminRoute, summary: str = "") -> AuditEvent:
    who: Principal | None = g.get("principal")
    path = request.path.removeprefix(API_PREFIX)
    is_verb = re.search(r":\w+$", route.path) is not None
    return AuditEvent(
        user=who.user.name if who else "",
        address=request.remote_addr or "",
        action=route.audit,
        object=path.rpartition(":")[0] if is_verb else path,
        detail="; ".join(filter(None, (f"by {who.by}" if who else "", summary))),
        makes=route.method == "POST" and not is_verb,
        often=route.counted,
    )


def announces_body() -> bool:
    """Whether the head of the running request announces a body."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


async def _json() -> bytes:
    """The request's body. Raises Refusal where its type is not JSON."""
    if request.mimetype not in ("application/json", ""):
        raise Refusal("request.media", f"{request.mimetype} is not application/json")
    body = await request.get_data(cache=False)
    assert isinstance(body, bytes)
    return body or b"{}"
