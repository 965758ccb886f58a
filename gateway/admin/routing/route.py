"""The decorators that declare a route of the admin API.

    @route.post("/projects/<project_id>/models", "project.edit", "create a model",
                audit="model.create")
    async def create(self, project_id: str, body: CreateModel) -> Json: ...

Quart's rules, `/openapi.json` and the table in REFERENCE.md come from these declarations. The names
of the handler's parameters are those of the path. A parameter `body` is the request's body: its
annotation is a Struct for JSON, MultiDict for the files of a form, or ManifestUpload.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, get_origin

import msgspec
from werkzeug.datastructures import FileStorage, MultiDict

from gateway import route_declaration
from gateway.admin.routing.manifest_uploads import ManifestUpload
from gateway.errors import API_PREFIX
from gateway.identity.permissions import Permission
from gateway.route_declaration import H, Handler

# The largest body of a route that does not declare another, in bytes.
SMALL_BODY = 128 * 1024
JSON = ("application/json",)
BodyType: TypeAlias = (
    type[msgspec.Struct] | type[MultiDict[str, FileStorage]] | type[ManifestUpload]
)


class AdminRoute(route_declaration.Route, frozen=True, kw_only=True):
    """One route of the admin API. `path` is below the prefix.

    `permission` is required in the project, or about the user, that the path names. `max_body` is
    the size of the largest body: in bytes, or the name of the setting that has it. `query` names
    the parameters of the query, `media_types` those of the answer. `streams`: the answer may come
    in pieces, for as long as it takes. `counted`: the audit log counts similar changes instead of
    recording each. `constants` are further arguments of the handler.
    """

    permission: Permission
    body: BodyType | None = None
    max_body: int | str = SMALL_BODY
    query: tuple[str, ...] = ()
    media_types: tuple[str, ...] = JSON
    streams: bool = False
    counted: bool = False
    constants: Mapping[str, str] = {}

    @property
    def is_upload(self) -> bool:
        """The body is written to files as it comes."""
        return self.body is not None and not issubclass(self.body, msgspec.Struct)

    @property
    def openapi_path(self) -> str:
        return API_PREFIX + self.path.replace("<path:", "{").replace("<", "{").replace(">", "}")


class _Method:
    """Declares routes of one HTTP method."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __call__(
        self,
        path: str,
        permission: Permission,
        summary: str,
        *,
        body: type[msgspec.Struct] | None = None,
        max_body: int | str = SMALL_BODY,
        query: tuple[str, ...] = (),
        media_types: tuple[str, ...] = JSON,
        audit: str = "",
        streams: bool = False,
        counted: bool = False,
        constants: Mapping[str, str] | None = None,
    ) -> Callable[[H], H]:
        """`body` is for a Struct that no annotation can name."""
        # Only the answer to a GET ends with the rights under which it is sent.
        assert not streams or self._method == "GET", path

        def decorate(handler: H) -> H:
            declared = AdminRoute(
                method=self._method,
                path=path,
                permission=permission,
                summary=summary,
                handler=handler,
                body=body or _body_of(handler),
                max_body=max_body,
                query=query,
                media_types=media_types,
                audit=audit,
                streams=streams,
                counted=counted,
                constants=constants or {},
            )
            named = {*re.findall(r"<(?:path:)?(\w+)>", path), *declared.constants}
            assert named <= {*inspect.signature(handler).parameters}, path
            return route_declaration.declare(handler, declared)

        return decorate


def _body_of(handler: Handler) -> BodyType | None:
    annotation = inspect.get_annotations(handler).get("body")
    kind: BodyType | None = get_origin(annotation) or annotation
    return kind


get, post, put, patch, delete = map(_Method, ("GET", "POST", "PUT", "PATCH", "DELETE"))
