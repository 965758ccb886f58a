"""What each route may answer, for `/openapi.json`: derived from what the route is, not written by
hand. A refusal's statuses are those of the catalogue's codes; no route answers anything else.
"""

from typing import Any

from gateway.admin.router import Route
from gateway.errors import CATALOGUE

# Before a route is looked at, or by whatever it does.
_EVERY = (
    "request.malformed",
    "request.slow",
    "request.head",
    "request.host",
    "argument.invalid",
    "route.notfound",
    "gateway.full",
    "disk.failed",
    "internal",
)
_SIGNED_IN = ("auth.required", "auth.forbidden")
_WITH_BODY = ("request.toolarge", "request.media", "request.unsupported")
_CHANGES = ("state.conflict", "disk.full", "project.busy")

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
                    "who": {"enum": sorted({entry.who for entry in CATALOGUE.values()})},
                    "advice": {"type": "string"},
                },
            },
        },
    },
}


def answers(route: Route) -> dict[str, Any]:
    """The answers of a route, by status."""
    content = {
        kind: {"schema": {"type": "object"}} if kind == "application/json" else {}
        for kind in route.gives
    }
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}}
    found = {"200": {"description": "done", "content": content}}
    for status in sorted(_statuses(route)):
        of_status = [code for code, entry in CATALOGUE.items() if entry.status == status]
        told = ", ".join(code for code in of_status if not code.startswith("model."))
        found[str(status)] = {"description": f"refused: {told}", "content": refused}
    return found


def _statuses(route: Route) -> set[int]:
    codes = [*_EVERY, *_SIGNED_IN]
    if route.method != "GET":
        codes += [*_WITH_BODY, *_CHANGES]
    return {CATALOGUE[code].status for code in codes}
