"""`/openapi.json`, made from the routes themselves."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.admin.routing import Route
from gateway.version import version


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """An OpenAPI 3.1 description of the admin API."""
    bodies = [route.takes for route in routes if route.takes is not None]
    _, components = msgspec.json.schema_components(
        bodies, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.openapi_path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "predictd", "version": version()},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "x-permission": route.needs,
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.openapi_path)
        ],
        "responses": {
            "200": {"description": "done"},
            "default": {"description": "refused: an error with code, message and details"},
        },
    }
    if route.takes is not None:
        schema = {"$ref": f"#/components/schemas/{route.takes.__name__}"}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation
