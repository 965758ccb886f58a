"""How a handler declares its route. The admin API and the pages share this.

A class has the handlers of one noun. A decorator above each handler states its method, path and
summary, so the table of routes can be read from the classes, without an instance. A RouteTable
registers the routes of instances with Quart, and finds the route of the running request.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec
from quart import Quart, g, request

Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)
_ATTRIBUTE = "declared_routes"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route. `path` is written as in Quart's rules. `audit` is the action that the audit log
    records: empty for a route that changes nothing."""

    method: str
    path: str
    summary: str
    handler: Handler
    audit: str = ""


R = TypeVar("R", bound=Route)


def declare(handler: H, route: Route) -> H:
    """Attaches a route to its handler. A handler may have several."""
    declared = handler.__dict__.setdefault(_ATTRIBUTE, [])
    declared.insert(0, route)  # the decorators of a handler run from the lowest up
    return handler


def routes_of(kind: type[R], *nouns: type[object]) -> tuple[R, ...]:
    """The routes that classes declare, in the order of their handlers."""
    found = [
        route
        for noun in nouns
        for member in vars(noun).values()
        for route in getattr(member, _ATTRIBUTE, ())
    ]
    assert all(isinstance(route, kind) for route in found)
    return tuple(found)


def bound_routes(kind: type[R], nouns: Iterable[object]) -> list[R]:
    """The routes of instances: their handlers are bound methods."""
    return [
        msgspec.structs.replace(route, handler=getattr(noun, route.handler.__name__))
        for noun in nouns
        for route in routes_of(kind, type(noun))
    ]


class RouteTable(Generic[R]):
    """The routes below a prefix, by Quart's endpoint."""

    def __init__(self, routes: Iterable[R], prefix: str = "") -> None:
        self._routes = {f"{route.method} {prefix}{route.path}": route for route in routes}

    def register(self, app: Quart, view_of: Callable[[R], Handler]) -> None:
        """Adds the routes to the application. `view_of` makes the function that Quart calls."""
        for endpoint, route in self._routes.items():
            app.add_url_rule(
                endpoint.partition(" ")[2],
                endpoint=endpoint,
                view_func=view_of(route),
                methods=[route.method],
                provide_automatic_options=False,
            )

    def get(self, endpoint: str) -> R | None:
        """The route that has this endpoint, if it is one of this table."""
        return self._routes.get(endpoint)

    def unaudited(self) -> R | None:
        """The route of the running request, if it changes something and has no audit entry yet."""
        rule = request.url_rule
        route = None if rule is None or g.get("audited") else self.get(rule.endpoint)
        return route if route is not None and route.audit else None


def mark_audited() -> None:
    """Marks the running request: the code that runs it writes its audit entry."""
    g.audited = True
