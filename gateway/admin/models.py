"""/projects/{id}/models and /models: models, their replicas and logs."""

from typing import Annotated, ClassVar, Literal

import msgspec
import trio
from quart import Response, request

from gateway.admin import log_stream, model_logs
from gateway.admin.builds import CreateBuild, build_json, launched_json, new_build
from gateway.admin.deployments import new_deployment
from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.json_body import FREE_BYTES
from gateway.admin.routing.paging import PAGED, in_turns, page
from gateway.admin.routing.parameters import choice, limit, moment, text
from gateway.admin.schemas import (
    Amount,
    Json,
    creator_json,
    failure_json,
    gpu_json,
    json_or_none,
)
from gateway.control import Control
from gateway.control.projects.models import NewModel
from gateway.control.records import Build, Deployment, Model, Project, Visibility, as_text
from gateway.control.views import ModelView
from gateway.errors import Refusal
from gateway.identity.principal import principal
from workers import Pool, process_info
from workers.gpus import Gpus

MANY = "/projects/<project_id>/models"
ONE = f"{MANY}/<model_id>"
# Log lines in one answer.
_DEFAULT_LINES, _MAX_LINES = 200, 10_000
# The counts of a model's requests beside its replicas; `busy` is the sum of the next two.
_COUNTS = (
    "waiting",
    "busy",
    "queue_full",
    "waited_too_long",
    "not_ready",
    "abandoned",
    "timed_out",
)


class CreateModel(msgspec.Struct, kw_only=True):
    name: str
    description: str = ""
    disable_authentication: bool = False
    auth_enabled: bool = True
    visibility: Visibility = "private"
    auto_build_model: bool = False
    auto_build_config: CreateBuild | None = None


class Resources(msgspec.Struct, kw_only=True):
    cpu_millicores: Amount | msgspec.UnsetType = msgspec.UNSET
    memory_mb: Amount | msgspec.UnsetType = msgspec.UNSET
    nvidia_gpus: Amount | msgspec.UnsetType = msgspec.UNSET


class ReplicationPolicy(msgspec.Struct, kw_only=True):
    type: Literal["fixed"] = "fixed"
    num_replicas: Amount | msgspec.UnsetType = msgspec.UNSET


KeptBuilds = Annotated[int, msgspec.Meta(ge=-1, le=1_000_000)]
KeptDays = Annotated[int, msgspec.Meta(ge=-1, le=100_000)]


class UpdateModel(msgspec.Struct, kw_only=True, omit_defaults=True):
    read_only: ClassVar[tuple[str, ...]] = (
        *("id", "model_number", "creator", "access_key", "deletion_status", "created_at", "crn"),
        *("updated_at", "project", "url", "status", "example", "example_output"),
        *("replicas_wanted", "replicas_ready"),
        *("current_deployment_id", "current_deployment_number", "current_build_number"),
        *("failure", "latest_build"),
    )
    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    visibility: Visibility | msgspec.UnsetType = msgspec.UNSET
    auth_enabled: bool | msgspec.UnsetType = msgspec.UNSET
    # -1: as the site keeps them.
    keep_builds: KeptBuilds | msgspec.UnsetType = msgspec.UNSET
    keep_builds_days: KeptDays | msgspec.UnsetType = msgspec.UNSET
    request_log: bool | msgspec.UnsetType = msgspec.UNSET
    default_resources: Resources = msgspec.field(default_factory=Resources)
    default_replication_policy: ReplicationPolicy = msgspec.field(default_factory=ReplicationPolicy)

    def changes(self) -> Json:
        """The fields of the record that it changes."""
        named = {
            "name": self.name,
            "description": self.description,
            "visibility": self.visibility,
            "auth_enabled": self.auth_enabled,
            "keep_builds": self.keep_builds,
            "keep_builds_days": self.keep_builds_days,
            "request_log": self.request_log,
            "cpu_millicores": self.default_resources.cpu_millicores,
            "memory_mb": self.default_resources.memory_mb,
            "nvidia_gpus": self.default_resources.nvidia_gpus,
            "replicas": self.default_replication_policy.num_replicas,
        }
        return {name: value for name, value in named.items() if value is not msgspec.UNSET}


class ModelRoutes:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._models = control.models
        self._records = control.records
        self._views = control.views
        self._lookup = Lookup(control)

    @route.get("/models", "any", "list the models of all projects", query=PAGED)
    async def list_all(self) -> Json:
        projects = {project.id: project for project in await self._lookup.visible_projects()}
        models = [m for m in await self._records.models() if m.project_id in projects]
        views = await self._views.models(models)
        shown = await in_turns(views, lambda v: model_json(v, projects[v.model.project_id]))
        return await page("models", shown)

    @route.get(MANY, "project.view", "list the models of a project", query=PAGED)
    async def list(self, project_id: str) -> Json:
        project = await self._lookup.project(project_id)
        views = await self._views.models(await self._records.models(project.id))
        return await page("models", await in_turns(views, lambda v: model_json(v, project)))

    @route.post(MANY, "project.edit", "create a model", max_body=FREE_BYTES, audit="model.create")
    async def create(self, project_id: str, body: CreateModel) -> Json:
        project = await self._lookup.project(project_id)
        who = principal().user
        new = NewModel(
            name=body.name,
            description=body.description,
            visibility=body.visibility,
            auth_enabled=body.auth_enabled and not body.disable_authentication,
        )
        config = body.auto_build_config if body.auto_build_model else None
        if config is None:
            return await self._json(await self._models.create(project, new, who), project)
        asked = config.auto_deployment_config
        if asked is not None and asked.based_on:
            raise Refusal("argument.invalid", "based_on: a new model has no deployment")
        deployment = new_deployment(self._models.defaults, asked)
        if asked is not None:
            self._control.deployments.check(project.id, deployment)
        launched = await self._control.launcher.create_model(
            project,
            new,
            new_build(config),
            deployment if config.auto_deploy_model else None,
            who,
        )
        return (
            await self._json(launched.model, project)
            | {"model_build": build_json(self._views.build(launched.build))}
            | launched_json(self._control, launched)
        )

    @route.get(ONE, "project.view", "show a model")
    async def show(self, project_id: str, model_id: str) -> Json:
        return await self._json(await self._lookup.model(project_id, model_id))

    @route.patch(ONE, "project.edit", "change a model", audit="model.update")
    async def update(self, project_id: str, model_id: str, body: UpdateModel) -> Json:
        model = await self._lookup.model(project_id, model_id)
        return await self._json(await self._models.update(model, body.changes()))

    @route.post(
        f"{ONE}:regenerate_key",
        "project.edit",
        "replace the access key of a model; the old one stops working",
        audit="model.regenerate_key",
    )
    async def regenerate_key(self, project_id: str, model_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        return await self._json(await self._models.regenerate_key(model))

    @route.delete(
        ONE, "project.edit", "stop a model and delete it with its builds", audit="model.delete"
    )
    async def delete(self, project_id: str, model_id: str) -> Json:
        await self._models.delete(await self._lookup.model(project_id, model_id))
        return {}

    @route.get(f"{ONE}/replicas", "project.view", "list the replicas that serve a model now")
    async def replicas(self, project_id: str, model_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        current = await self._views.current_pool(model)
        if current.deployment is None or current.pool is None:
            counts: Json = dict.fromkeys(_COUNTS, 0)
            extra = {"restarting": False, "restart_problem": "", "metrics_dropped": 0}
            return {"replicas": [], **counts, "restarts_by_caller": {}, **extra}
        dropped = self._control.metrics_writer.dropped(current.deployment.id)
        restart = self._control.deployments.restart_of(current.deployment.id)
        gpus = self._control.workers.gpus
        return _replicas_json(current.deployment, current.pool, gpus) | {
            "restarting": restart.is_running,
            "restart_problem": restart.problem,
            "metrics_dropped": dropped,
        }

    @route.get(
        f"{ONE}/logs",
        "project.view",
        "show the logs of a model's replicas; live as server-sent events",
        query=("replica", "stream", "tail", "since", "text", "request"),
        media_types=("text/plain", model_logs.LINES, "text/event-stream"),
        streams=True,
    )
    async def logs(self, project_id: str, model_id: str) -> Response:
        model = await self._lookup.model(project_id, model_id)
        replica, stream = text("replica"), choice("stream", ("stdout", "stderr"))
        since, part, wanted_request = moment("since"), text("text"), text("request")
        narrow = since is not None or part or wanted_request
        tail = limit("tail", _MAX_LINES if narrow else _DEFAULT_LINES, most=_MAX_LINES)
        paths = await self._views.model_logs(model)
        pool = (await self._views.current_pool(model)).pool
        known = {path.stem for path in paths} | set(pool.logs if pool else ())
        if replica and replica not in known:
            names = ", ".join(sorted(known)) or "none"
            problem = f"replica: there is no log of {replica!r}; there are logs of: {names}"
            raise Refusal("argument.invalid", problem)
        begin = as_text(since) if since else ""
        chosen = model_logs.LogFilter(tail, stream, begin, part, wanted_request)
        if request.accept_mimetypes.best == "text/event-stream":
            return log_stream.follow_logs(self._control, model, replica, chosen)
        wanted = [path for path in paths if replica in ("", path.stem)]
        encode, kind = model_logs.as_text, "text/plain; charset=utf-8"
        if request.accept_mimetypes.best == model_logs.LINES:
            encode, kind = model_logs.as_json, model_logs.LINES

        def read() -> bytes:
            return encode(model_logs.last_lines(wanted, chosen))

        return Response(await trio.to_thread.run_sync(read), content_type=kind)

    async def _json(self, model: Model, project: Project | None = None) -> Json:
        project = project or await self._lookup.project(model.project_id)
        return model_json(await self._views.model(model), project)


def _replicas_json(deployment: Deployment, pool: Pool, gpus: Gpus) -> Json:
    statistics = pool.statistics()
    replicas = []
    for slot in statistics.slots:
        resources = process_info(slot.pid) if slot.pid is not None else None
        fields = msgspec.structs.asdict(slot)
        fields["uptime"] = round(slot.uptime, 3)
        fields["gpus"] = [
            gpu_json(each, gpus) for each in gpus.states() if each.gpu.uuid in slot.gpus
        ]
        fields |= {"deployment_number": deployment.number}
        fields |= {"rss_bytes": resources.resident if resources else None}
        fields |= {"cpu_seconds": resources.cpu if resources else None}
        replicas.append(fields)
    counts = {name: getattr(statistics, name) for name in _COUNTS}
    return {"replicas": replicas, **counts, "restarts_by_caller": statistics.restarts_by}


def model_json(view: ModelView, project: Project) -> Json:
    model, deployment, statistics = view.model, view.deployment, view.statistics
    return {
        "id": model.id,
        "model_number": model.number,
        "name": model.name,
        "description": model.description,
        "creator": creator_json(model.creator),
        "access_key": view.access_key,
        "auth_enabled": model.auth_enabled,
        "visibility": model.visibility,
        "keep_builds": model.keep_builds,
        "keep_builds_days": model.keep_builds_days,
        "request_log": model.request_log,
        "deletion_status": "",
        "created_at": model.created_at,
        "updated_at": max(model.updated_at, deployment.updated_at if deployment else ""),
        "crn": view.crn,
        "project": {"id": project.id, "name": project.name},
        "default_resources": {
            "cpu_millicores": model.cpu_millicores,
            "memory_mb": model.memory_mb,
            "nvidia_gpus": model.nvidia_gpus,
        },
        "default_replication_policy": {"num_replicas": model.replicas, "type": "fixed"},
        "url": view.url,
        "status": view.status,
        "current_deployment_id": deployment.id if deployment else "",
        "current_deployment_number": deployment.number if deployment else None,
        "current_build_number": deployment.build_number if deployment else None,
        "replicas_wanted": deployment.replicas if deployment else 0,
        "replicas_ready": statistics.ready if statistics else 0,
        "failure": failure_json(deployment.failure) if deployment else None,
        "latest_build": _latest_json(view.latest_build),
        "example": json_or_none(view.example),
        "example_output": json_or_none(view.example_output),
    }


def _latest_json(build: Build | None) -> Json | None:
    """The latest build of a model, which may be another one than what is deployed."""
    if build is None:
        return None
    return {
        "id": build.id,
        "build_number": build.number,
        "status": build.status,
        "cancelled_by": build.cancelled_by,
        "failure": failure_json(build.failure),
    }
