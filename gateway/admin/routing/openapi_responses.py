"""The responses of each route, for `/openapi.json`. They are derived from the route, not written by
hand. The statuses of errors are those of the error catalogue; no route has others.
"""

from typing import Any, get_args

from gateway.admin.routing.route import AdminRoute
from gateway.errors import CATALOGUE, Code, Who

# Before a route is chosen, or by any of them.
_ALWAYS: tuple[Code, ...] = (
    "request.malformed",
    "request.timeout",
    "request.head",
    "request.host",
    "argument.invalid",
    "route.notfound",
    "gateway.overloaded",
    "disk.failed",
    "internal",
)
_UNAUTHORIZED: tuple[Code, ...] = ("auth.required", "auth.forbidden")
_WITH_BODY: tuple[Code, ...] = ("request.toolarge", "request.media", "request.unsupported")
_ON_CHANGE: tuple[Code, ...] = ("state.conflict", "disk.full", "project.busy")

REFUSED: dict[str, Any] = {
    "title": "Refused",
    "type": "object",
    "required": ["error", "code", "message", "details"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "integer"},
        "message": {"type": "string"},
        "details": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["code", "who", "advice"],
                "properties": {
                    "code": {"enum": list(CATALOGUE)},
                    "who": {"enum": list(get_args(Who))},
                    "advice": {"type": "string"},
                },
            },
        },
    },
}


def responses(route: AdminRoute) -> dict[str, Any]:
    """The responses of a route, by status."""
    content = {
        kind: {"schema": {"type": "object"}} if kind == "application/json" else {}
        for kind in route.media_types
    }
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}}
    found = {"200": {"description": "done", "content": content}}
    for status in sorted(_statuses(route)):
        of_status = [code for code, kind in CATALOGUE.items() if kind.status == status]
        codes = ", ".join(code for code in of_status if not code.startswith("model."))
        found[str(status)] = {"description": f"refused: {codes}", "content": refused}
    return found


def _statuses(route: AdminRoute) -> set[int]:
    codes = [*_ALWAYS, *_UNAUTHORIZED]
    if route.method != "GET":
        codes += [*_WITH_BODY, *_ON_CHANGE]
    return {CATALOGUE[code].status for code in codes}
