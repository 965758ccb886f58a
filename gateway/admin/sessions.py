"""Sessions: a function that is tried, or a shell. See `control/sessions/session.py`."""

import binascii
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from quart import Response

import builder
from gateway.admin import log_stream
from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.json_body import FREE_BYTES
from gateway.admin.schemas import Amount, AnyJson, Json, null, scaled
from gateway.control import Control
from gateway.control.records import Build, Deployment
from gateway.control.sessions.new_session import Kind, NewSession
from gateway.control.sessions.session import WorkSession
from gateway.errors import Refusal
from gateway.identity.principal import principal
from workers import Answered, Network, describe_failure

MANY = "/projects/<project_id>/sessions"
ONE = f"{MANY}/<session_id>"
Size = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class CreateSession(msgspec.Struct, kw_only=True):
    """`memory` in GB. With a `model_id` a shell is in the environment of what the model serves, and
    has its variables; with a `build_id`, too, in that of this build. Only a build that is served
    has variables of a deployment."""

    kind: Kind
    file_path: str = ""
    function_name: str = ""
    kernel: str = ""
    runtime_identifier: str = ""
    model_root_dir: str = ""
    build_script_path: str = ""
    network: Network = "machine"
    memory: float | None = None
    nvidia_gpus: Amount = 0
    model_id: str = ""
    build_id: str = ""
    rows: Size = 24
    columns: Size = 80
    term: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+._-]{1,64}$")] = "dumb"


class CallSession(msgspec.Struct, kw_only=True):
    request: AnyJson = msgspec.field(default_factory=null)


class TypeInSession(msgspec.Struct, kw_only=True):
    """`data` is Base64. With `rows` and `columns` the window gets that size first."""

    data: Annotated[str, msgspec.Meta(max_length=96 * 1024)] = ""
    rows: Size | None = None
    columns: Size | None = None


class SessionRoutes:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._sessions = control.sessions
        self._lookup = Lookup(control)

    @route.post(
        MANY,
        "project.edit",
        "try a function, or open a shell, in the environment of a build",
        audit="session.create",
    )
    async def create(self, project_id: str, body: CreateSession) -> Json:
        project = await self._lookup.project(project_id)
        defaults = self._control.models.defaults
        build, deployment = await self._existing(project_id, body)
        asked = NewSession(
            kind=body.kind,
            file=body.file_path,
            function=body.function_name,
            kernel=body.runtime_identifier or body.kernel,
            model_root=body.model_root_dir,
            script=body.build_script_path or builder.DEFAULT_SCRIPT,
            network=deployment.network if deployment else body.network,
            memory_mb=scaled("memory", body.memory, 1024, defaults.memory_mb),
            nvidia_gpus=body.nvidia_gpus,
            rows=body.rows,
            columns=body.columns,
            term=body.term,
            build=build,
            deployment=deployment,
        )
        session = await self._sessions.create(project, asked, principal().user.name)
        return {"id": session.id, "kind": asked.kind, "project_id": project.id}

    async def _existing(
        self, project_id: str, body: CreateSession
    ) -> tuple[Build | None, Deployment | None]:
        """The build that the session is in, and the deployment that serves it."""
        if not body.model_id and not body.build_id:
            return None, None
        if body.kind == "function" or not body.model_id:
            text = "model_id, build_id: they are for a shell, python or r; a build needs both"
            raise Refusal("argument.invalid", text)
        model = await self._lookup.model(project_id, body.model_id)
        deployment = (await self._control.views.current_pool(model)).deployment
        served = deployment.build_id if deployment else None
        if not (wanted := body.build_id or served):
            raise Refusal("state.conflict", f"the model {model.name!r} serves no build")
        build = await self._lookup.build(project_id, model.id, wanted)
        return build, deployment if build.id == served else None

    @route.get(
        f"{ONE}/log",
        "project.edit",
        "follow a session as server-sent events; it ends with this response",
        media_types=("text/event-stream",),
        streams=True,
    )
    async def log(self, project_id: str, session_id: str) -> Response:
        return log_stream.follow_session(self._control, self._find(project_id, session_id))

    @route.get(
        f"{ONE}/terminal",
        "project.edit",
        "what the program of a session prints, as bytes",
        media_types=("application/octet-stream",),
        streams=True,
    )
    async def terminal(self, project_id: str, session_id: str) -> Response:
        session = self._find(project_id, session_id)

        async def printed() -> AsyncIterator[bytes]:
            async for data in session.program.printed:
                yield data

        return Response(printed(), content_type="application/octet-stream")

    @route.post(
        f"{ONE}:call", "project.edit", "call the function of a session", max_body=FREE_BYTES
    )
    async def call(self, project_id: str, session_id: str, body: CallSession) -> Json:
        outcome = await self._find(project_id, session_id).function.call(bytes(body.request))
        if isinstance(outcome, Answered):
            return {"success": True, "response": msgspec.Raw(bytes(outcome.body)), "problem": ""}
        return {"success": False, "response": None, "problem": describe_failure(outcome)}

    @route.post(f"{ONE}:type", "project.edit", "type into the terminal of a session, or resize it")
    async def type(self, project_id: str, session_id: str, body: TypeInSession) -> Json:
        session = self._find(project_id, session_id)
        if body.rows and body.columns:
            session.program.resize(body.rows, body.columns)
        try:
            data = binascii.a2b_base64(body.data, strict_mode=True)
        except binascii.Error as error:
            raise Refusal("argument.invalid", f"data: it is not Base64: {error}") from error
        if data:
            await session.program.type(data)
        return {}

    @route.delete(ONE, "project.edit", "end a session", audit="session.delete")
    async def delete(self, project_id: str, session_id: str) -> Json:
        session = self._find(project_id, session_id)
        session.end()
        await session.ended.wait()
        return {}

    def _find(self, project_id: str, session_id: str) -> WorkSession:
        return self._sessions.find(project_id, session_id, principal().user.name)
