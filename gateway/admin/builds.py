"""Builds of a model, and their logs."""

from collections.abc import Sequence
from functools import partial

import msgspec
from quart import Response, request

import builder
from gateway.admin import log_stream
from gateway.admin.deployments import (
    CreateDeployment,
    deployment_defaults,
    new_deployment,
    shown_deployment,
)
from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.downloads import log_text
from gateway.admin.routing.json_body import FREE_BYTES
from gateway.admin.routing.paging import PAGED, Columns, in_turns, page_of
from gateway.admin.schemas import (
    AnyJson,
    Json,
    creator_json,
    failure_json,
    json_or_none,
    lock_json,
    null,
    text_or_none,
)
from gateway.control import Control
from gateway.control.builds.build_task import STEPS_STREAM
from gateway.control.builds.builds import NewBuild
from gateway.control.projects.launch import Launched
from gateway.control.records import Build
from gateway.control.views import BuildView
from gateway.identity.principal import principal
from workers import Network

MANY = "/projects/<project_id>/models/<model_id>/builds"
ONE = f"{MANY}/<build_id>"
_TEXTS = {
    "file_path": "file",
    "function_name": "function",
    "runtime_identifier": "interpreter",
    "creator.username": "creator",
    "comment": "comment",
}
_COLUMNS = Columns(
    {
        **_TEXTS,
        "build_number": "number",
        "status": "status",
        "created_at": "created_at",
        "built_at": "built_at",
    },
    _TEXTS,
)


class CreateBuild(msgspec.Struct, kw_only=True):
    file_path: str
    function_name: str
    kernel: str = ""
    comment: str = ""
    runtime_identifier: str = ""
    model_root_dir: str = ""
    build_script_path: str = ""
    network: Network = "machine"
    fresh: bool = False
    example: AnyJson = msgspec.field(default_factory=null)  # null: no example
    example_output: AnyJson = msgspec.field(default_factory=null)
    auto_deploy_model: bool = False
    auto_deployment_config: CreateDeployment | None = None


class CheckProject(msgspec.Struct, kw_only=True):
    file_path: str
    function_name: str
    kernel: str = ""
    runtime_identifier: str = ""
    model_root_dir: str = ""
    build_script_path: str = ""


class BuildRoutes:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._records = control.records
        self._views = control.views
        self._lookup = Lookup(control)

    @route.get(MANY, "project.view", "list the builds of a model", query=PAGED)
    async def list(self, project_id: str, model_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        return await page_of(
            "model_builds", _COLUMNS, partial(self._records.builds, model), self._items
        )

    @route.post(MANY, "project.edit", "build a model", max_body=FREE_BYTES, audit="build.create")
    async def create(self, project_id: str, model_id: str, body: CreateBuild) -> Json:
        model = await self._lookup.model(project_id, model_id)
        config = body.auto_deployment_config
        defaults = await deployment_defaults(self._control, model, config)
        deployment = new_deployment(defaults, config)
        # The sizes of a later deployment are checked before anything is built.
        if config is not None:
            self._control.deployments.check(project_id, deployment, model_id=model.id)
        launched = await self._control.launcher.build(
            model,
            new_build(body),
            deployment if body.auto_deploy_model else None,
            principal().user,
        )
        return self._json(launched.build) | launched_json(self._control, launched)

    @route.post(
        "/projects/<project_id>:check",
        "project.edit",
        "check the files of a project for a model, without building it",
    )
    async def check(self, project_id: str, body: CheckProject) -> Json:
        project = await self._lookup.project(project_id)
        asked = NewBuild(
            file=body.file_path,
            function=body.function_name,
            kernel=body.runtime_identifier or body.kernel,
            model_root=body.model_root_dir,
            script=body.build_script_path or builder.DEFAULT_SCRIPT,
        )
        builds = self._control.builds
        await builds.check(project, asked)
        async with builds.checks.looking(project, asked) as checked:
            return check_json(checked.report)

    @route.get(
        "/projects/<project_id>/functions",
        "project.edit",
        "list the functions of a project's files, without running them",
    )
    async def functions(self, project_id: str) -> Json:
        project = await self._lookup.project(project_id)
        files = await self._control.builds.checks.functions(project)
        return {"files": await in_turns(files, msgspec.to_builtins)}

    @route.get(ONE, "project.view", "show a build")
    async def show(self, project_id: str, model_id: str, build_id: str) -> Json:
        return self._json(await self._lookup.build(project_id, model_id, build_id))

    @route.delete(
        ONE,
        "project.edit",
        "delete a build that is not deployed; one in progress is cancelled",
        audit="build.delete",
    )
    async def delete(self, project_id: str, model_id: str, build_id: str) -> Json:
        build = await self._lookup.build(project_id, model_id, build_id)
        await self._control.cancellation.delete(project_id, build, principal().user)
        return {}

    @route.post(
        f"{ONE}:cancel",
        "project.edit",
        "cancel a build that has not ended; deployments that wait for it fail",
        audit="build.cancel",
    )
    async def cancel(self, project_id: str, model_id: str, build_id: str) -> Json:
        build = await self._lookup.build(project_id, model_id, build_id)
        return self._json(await self._control.cancellation.cancel(build, principal().user))

    @route.get(
        f"{ONE}/log",
        "project.view",
        "show the log of a build; live as server-sent events",
        media_types=log_stream.MEDIA_TYPES,
        streams=True,
    )
    async def log(self, project_id: str, model_id: str, build_id: str) -> Response:
        build = await self._lookup.build(project_id, model_id, build_id)
        if request.accept_mimetypes.best == "text/event-stream":
            return log_stream.follow_build(self._control, build)
        return log_text(self._views.build_log(build), without=STEPS_STREAM)

    def _json(self, build: Build) -> Json:
        return build_json(self._views.build(build))

    async def _items(self, builds: Sequence[Build]) -> Sequence[Json]:
        return await in_turns(builds, self._json)


def launched_json(control: Control, launched: Launched) -> Json:
    """The deployment that a request for a build has started: null without one."""
    started = launched.deployment
    return {"model_deployment": shown_deployment(control, started) if started else None}


def new_build(body: CreateBuild) -> NewBuild:
    """The build that a request asks for. A runtime identifier takes precedence over a kernel."""
    return NewBuild(
        file=body.file_path,
        function=body.function_name,
        kernel=body.runtime_identifier or body.kernel,
        comment=body.comment,
        example=text_or_none(body.example),
        example_output=text_or_none(body.example_output),
        model_root=body.model_root_dir,
        script=body.build_script_path or builder.DEFAULT_SCRIPT,
        network=body.network,
        fresh=body.fresh,
    )


def check_json(report: builder.CheckReport) -> Json:
    """`problems` would fail the build; `notes` would not. `installs` is the script or the file of
    requirements by which packages are installed."""
    contents = report.contents
    return {
        "passed": not report.problems,
        "problems": [msgspec.structs.asdict(each) for each in report.problems],
        "notes": list(report.notes),
        "installs": report.installs,
        "summary": contents.summary(),
        "files": contents.files,
        "size_bytes": contents.size,
        "left_out": [
            {"path": each.path, "size_bytes": each.size, "rule": each.rule}
            for each in contents.ignored
        ],
    }


def build_json(view: BuildView) -> Json:
    build = view.build
    return {
        "id": build.id,
        "build_number": build.number,
        "model_id": build.model_id,
        "creator": creator_json(build.creator),
        "comment": build.comment,
        "file_path": build.file,
        "function_name": build.function,
        "kernel": build.kernel or build.interpreter,
        "runtime_identifier": build.interpreter,
        "model_root_dir": build.model_root,
        "build_script_path": build.script,
        "network": build.network,
        "fresh": build.fresh,
        "example": json_or_none(build.example),
        "example_output": json_or_none(build.example_output),
        "snapshot": build.snapshot,
        "lock": lock_json(build),
        "status": build.status,
        "steps": [msgspec.structs.asdict(step) for step in build.steps],
        "failure": failure_json(build.failure),
        "cancelled_by": build.cancelled_by,
        "crn": view.crn,
        "created_at": build.created_at,
        "updated_at": build.updated_at,
        "built_at": build.built_at,
        "size_bytes": build.size_bytes,
    }
