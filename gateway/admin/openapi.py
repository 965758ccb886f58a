"""`/openapi.json`, made from the routes themselves."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from werkzeug.datastructures import MultiDict

from gateway.admin.openapi_responses import REFUSED, answers
from gateway.admin.router import Route
from gateway.version import version


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """An OpenAPI 3.1 description of the admin API."""
    taken = [route.takes for route in routes if route.takes is not None]
    bodies = [each for each in taken if issubclass(each, msgspec.Struct)]
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
            "schemas": {**components, "Refused": REFUSED},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "x-permission": route.needs,
        **({"x-audit": route.action} if route.action else {}),
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.openapi_path)
        ]
        + [{"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query],
        "responses": answers(route),
    }
    if route.takes is not None and issubclass(route.takes, MultiDict):
        form = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"content": {"multipart/form-data": {"schema": form}}}
    elif route.takes is not None:
        schema = {"$ref": f"#/components/schemas/{route.takes.__name__}"}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation
