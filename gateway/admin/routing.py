"""How a route of the admin API is written, and what is done for all of them.

A route is declared once, with its method, path, permission, body and summary; from that list come
Quart's rules, `/openapi.json` and the README's table, so the three cannot differ. Who has not the
permission is refused before the body is read. A handler returns plain JSON values. What changes
state runs to its end even if the client hangs up, and is entered in the audit trail.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from quart import Blueprint, Response, g, request
from werkzeug.datastructures import FileStorage, MultiDict

from gateway.admin.given import given
from gateway.auth import Principal, require
from gateway.control.trail import Act, Trail
from gateway.directory import Directory
from gateway.errors import Refusal
from gateway.permissions import Permission
from gateway.tasks import Tasks

PREFIX = "/api/v2"
Handler = Callable[..., Awaitable[Any]]
Taken: TypeAlias = type[msgspec.Struct] | type[MultiDict[str, FileStorage]]


class Route(msgspec.Struct, frozen=True):
    """One route. `path` is Quart's, below the prefix; `needs` is asked of who may do it, in the
    project or about the user that the path names; `takes` is the Struct of its JSON body, or
    MultiDict for the files of a form, `query` what may stand behind a `?`, `gives` the media types
    of its answers. `action` is what the audit trail calls it: none for what changes nothing."""

    method: str
    path: str
    needs: Permission
    summary: str
    handler: Handler
    takes: Taken | None = None
    query: tuple[str, ...] = ()
    gives: tuple[str, ...] = ("application/json",)
    action: str = ""

    @property
    def openapi_path(self) -> str:
        return PREFIX + self.path.replace("<path:", "{").replace("<", "{").replace(">", "}")


class Routing:
    """Collects routes, then makes a blueprint of them."""

    def __init__(self, tasks: Tasks, directory: Directory, trail: Trail) -> None:
        self.routes: list[Route] = []
        self._tasks = tasks
        self._directory = directory
        self._trail = trail

    def add(
        self,
        method: str,
        path: str,
        needs: Permission,
        summary: str,
        handler: Handler,
        takes: Taken | None = None,
        *,
        query: tuple[str, ...] = (),
        gives: tuple[str, ...] = ("application/json",),
        action: str = "",
    ) -> None:
        self.routes.append(
            Route(method, path, needs, summary, handler, takes, query, gives, action)
        )

    def blueprint(self) -> Blueprint:
        blueprint = Blueprint("admin", __name__, url_prefix=PREFIX)
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
        async def view(**values: str) -> Response:
            project_id, about = values.get("project_id", ""), values.get("username", "")
            require(self._directory, route.needs, project_id, about)
            arguments: list[Any] = list(values.values())
            told = ""
            if route.takes is not None and issubclass(route.takes, MultiDict):
                arguments.append(await request.files)
            elif route.takes is not None:
                arguments.append(body := await read_body(route.takes))
                told = given(body)
            if not route.action:
                result = await route.handler(*arguments)
            else:
                g.entered = True
                act = _act(route, told)
                result = await self._tasks.finish(
                    self._trail.carry_out, act, route.handler, *arguments
                )
            if isinstance(result, Response):
                return result
            return Response(msgspec.json.encode(result), content_type="application/json")

        return view

    def not_entered(self) -> Act | None:
        """What the running request asks for, if that changes something and has no entry yet."""
        rule = request.url_rule
        if rule is None or not rule.endpoint.startswith("admin.") or g.get("entered"):
            return None
        route = self.routes[int(rule.endpoint.removeprefix("admin."))]
        return _act(route) if route.action else None


def _act(route: Route, told: str = "") -> Act:
    """What the running request asks for."""
    who: Principal | None = g.get("principal")
    path = request.path.removeprefix(PREFIX)
    verb = ">:" in route.path
    return Act(
        who=who.user.name if who else "",
        address=request.remote_addr or "",
        action=route.action,
        object=path.rpartition(":")[0] if verb else path,
        detail="; ".join(filter(None, (f"by {who.by}" if who else "", told))),
        makes=route.method == "POST" and not verb,
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return value


async def read_body(kind: type[msgspec.Struct]) -> Any:
    """The request's JSON as a `kind`. Raises Refusal naming the field that does not fit."""
    if request.mimetype not in ("application/json", ""):
        raise Refusal("request.media", f"{request.mimetype} is not application/json")
    body = await request.get_data(cache=False)
    try:
        # As protobuf's JSON is read: null is the default, and a number may come as text.
        given = _without_nulls(msgspec.json.decode(body or b"{}"))
        return msgspec.convert(given, kind, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise Refusal("argument.invalid", str(error)) from error
