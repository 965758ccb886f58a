"""`/openapi.json`, made from the routes themselves."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.admin.routing.manifest_uploads import ManifestUpload
from gateway.admin.routing.openapi_responses import REFUSED, responses
from gateway.admin.routing.route import AdminRoute
from gateway.upload_manifest import MEDIA_TYPE
from gateway.version import version


def openapi(routes: Sequence[AdminRoute]) -> dict[str, Any]:
    """An OpenAPI 3.1 description of the admin API."""
    bodies = [
        route.body
        for route in routes
        if route.body is not None and issubclass(route.body, msgspec.Struct)
    ]
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


def _operation(route: AdminRoute) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "x-permission": route.permission,
        **({"x-audit": route.audit} if route.audit else {}),
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.openapi_path)
        ]
        + [{"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query],
        "responses": responses(route),
    }
    if route.body is ManifestUpload:
        content = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"content": content}
    elif route.is_upload:
        form = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"content": {"multipart/form-data": {"schema": form}}}
    elif route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation
