"""/runtimes: the interpreters that builds can use, bare or with packages.

A bare interpreter is found on the machine. One with packages is made by a site administrator, in
versions: `science@2` is the second one of that name.
"""

import msgspec
from quart import Response, request

from builder import Interpreter
from gateway.admin import log_stream
from gateway.admin.routing import route
from gateway.admin.routing.downloads import log_text
from gateway.admin.routing.paging import PAGED, page
from gateway.admin.schemas import Json, creator_json, failure_json
from gateway.control import Control
from gateway.control.audit.audit_log import annotate
from gateway.control.records import Runtime
from gateway.control.runtimes.runtimes import NewRuntime
from gateway.identity.principal import principal

MANY = "/runtimes"
ONE = f"{MANY}/<runtime_identifier>"


class CreateRuntime(msgspec.Struct, kw_only=True):
    """`python` is a version such as 3.12, which is downloaded if this machine does not have it;
    `requirements` is the text of a requirements file."""

    name: str
    python: str = ""
    requirements: str = ""
    edition: str = "Standard"
    description: str = ""


class UpdateRuntime(msgspec.Struct, kw_only=True, omit_defaults=True):
    description: str | msgspec.UnsetType = msgspec.UNSET
    edition: str | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


class RuntimeRoutes:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._runtimes = control.runtimes

    @route.get(MANY, "any", "list the runtimes that builds can use", query=PAGED)
    async def list(self) -> Json:
        default = (await self._control.catalogue.default()).identifier
        bare = [self._bare_json(each, default) for each in await self._control.interpreters.all()]
        made = [self._json(each, default) for each in await self._runtimes.all()]
        return await page("runtimes", [*bare, *made])

    @route.post(MANY, "site.administer", "make a runtime with packages", audit="runtime.create")
    async def create(self, body: CreateRuntime) -> Json:
        asked = NewRuntime(**msgspec.structs.asdict(body))
        return await self._shown(await self._runtimes.create(asked, principal().user))

    @route.get(ONE, "any", "show a runtime with packages")
    async def show(self, runtime_identifier: str) -> Json:
        return await self._shown(await self._runtimes.get(runtime_identifier))

    @route.patch(
        ONE, "site.administer", "describe, disable or enable a runtime", audit="runtime.update"
    )
    async def update(self, runtime_identifier: str, body: UpdateRuntime) -> Json:
        runtime = await self._found(runtime_identifier)
        return await self._shown(await self._runtimes.update(runtime, **msgspec.to_builtins(body)))

    @route.delete(
        ONE, "site.administer", "delete a runtime that nothing uses", audit="runtime.delete"
    )
    async def delete(self, runtime_identifier: str) -> Json:
        await self._runtimes.delete(await self._found(runtime_identifier))
        return {}

    @route.get(
        f"{ONE}/log",
        "site.administer",
        "show how a runtime was made; live as server-sent events",
        media_types=log_stream.MEDIA_TYPES,
        streams=True,
    )
    async def log(self, runtime_identifier: str) -> Response:
        runtime = await self._runtimes.get(runtime_identifier)
        if request.accept_mimetypes.best == "text/event-stream":
            return log_stream.follow_runtime(self._control, runtime)
        return log_text(self._control.data.runtime_log(runtime.id))

    async def _found(self, identifier: str) -> Runtime:
        runtime = await self._runtimes.get(identifier)
        annotate(f"runtime {runtime.identifier}")
        return runtime

    async def _shown(self, runtime: Runtime) -> Json:
        return self._json(runtime, (await self._control.catalogue.default()).identifier)

    def _json(self, runtime: Runtime, default: str) -> Json:
        shown: Json = {
            "id": runtime.id,
            "runtime_identifier": runtime.identifier,
            "image_identifier": runtime.identifier,
            "name": runtime.name,
            "version": runtime.version,
            "kernel": runtime.interpreter.replace("python", "Python "),
            "edition": runtime.edition,
            "editor": "",
            "description": runtime.description,
            "full_version": f"{runtime.version}",
            "language": "python",
            "status": "disabled" if runtime.disabled else runtime.status,
            "failure": failure_json(runtime.failure),
            "requirements": runtime.requirements,
            "path": "",
            "default": runtime.identifier == default,
            "creator": creator_json(runtime.creator),
            "created_at": runtime.created_at,
            "ready_at": runtime.ready_at,
        }
        if not principal().user.administrator:
            # Addresses of package indexes, and what a failed installation printed.
            shown |= {"requirements": "", "failure": None}
        return shown

    def _bare_json(self, interpreter: Interpreter, default: str) -> Json:
        return {
            "id": "",
            "runtime_identifier": interpreter.identifier,
            "image_identifier": interpreter.identifier,
            "name": interpreter.identifier,
            "version": 0,
            "kernel": interpreter.kernel,
            "edition": "Standard",
            "editor": "",
            "description": "the interpreter without packages",
            "full_version": interpreter.version,
            "language": interpreter.language,
            "status": "ready",
            "failure": None,
            "requirements": "",
            "path": str(interpreter.path) if principal().user.administrator else "",
            "default": interpreter.identifier == default,
            "creator": creator_json(""),
            "created_at": "",
            "ready_at": None,
        }
