"""/projects/{id}/models and /models: models, their replicas and what these print."""

from collections import deque
from pathlib import Path

import msgspec
import trio
from quart import Response, request

import store
from gateway.admin import log_stream
from gateway.admin.builds import deployed_json, launched_json, new_build, new_deployment
from gateway.admin.json_body import FREE_BYTES
from gateway.admin.lookup import Lookup
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import CreateModel, Json, UpdateModel, build_json, model_json
from gateway.control import Control
from gateway.control.deployments.replica_logs import logs_of
from gateway.control.projects.models import NewModel
from gateway.errors import Refusal
from gateway.identity.principal import principal
from store import Deployment, Model, Project
from workers import Line, Pool, process_info
from workers.log import blocks_of, in_order

# What a log of a model may be asked for at once.
_MOST_LINES = 10_000
# What is told of a model's requests beside its replicas; `busy` is the sum of the next two.
_REQUESTS = (
    "waiting",
    "busy",
    "queue_full",
    "waited_too_long",
    "not_ready",
    "abandoned",
    "timed_out",
)


def add_routes(routing: Router, control: Control) -> None:
    database, seek = control.context.database, Lookup(control)

    async def as_json(model: Model, project: Project | None = None) -> Json:
        project = project or await seek.project(model.project_id)
        current = await database.read(store.deployments.current, model.id)
        pool = control.deployments.pool(current.id) if current else None
        example = await database.read(store.builds.example, model.id)
        return model_json(
            model,
            project,
            control.context.endpoints.key_of(model),
            f"{control.context.urls.public}/model",
            current,
            control.deployments.state(current) if current else "",
            pool.statistics() if pool else None,
            example,
            control.context.workspace,
        )

    async def index_all() -> Json:
        projects = {project.id: project for project in await seek.projects()}
        models = await database.read(store.models.list_all)
        seen = [m for m in models if m.project_id in projects]
        return await page("models", [await as_json(m, projects[m.project_id]) for m in seen])

    async def index(project_id: str) -> Json:
        project = await seek.project(project_id)
        models = await database.read(store.models.list_all, project.id)
        return await page("models", [await as_json(m, project) for m in models])

    async def create(project_id: str, asked: CreateModel) -> Json:
        project = await seek.project(project_id)
        who = principal().user
        new = NewModel(
            name=asked.name,
            description=asked.description,
            visibility=asked.visibility,
            auth_enabled=asked.auth_enabled and not asked.disable_authentication,
        )
        config = asked.auto_build_config if asked.auto_build_model else None
        if config is None:
            return await as_json(await control.models.create(project, new, who), project)
        deployment = new_deployment(control.models.defaults, config.auto_deployment_config)
        if config.auto_deployment_config is not None:
            control.deployments.check(project.id, deployment)
        launched = await control.launcher.create_model(
            project,
            new,
            new_build(config),
            deployment if config.auto_deploy_model else None,
            who,
        )
        build = control.builds.with_live_status(launched.build)
        return (
            await as_json(launched.model, project)
            | {"model_build": build_json(build, build.steps, control.context.workspace)}
            | launched_json(control, launched)
        )

    async def show(project_id: str, model_id: str) -> Json:
        return await as_json(await seek.model(project_id, model_id))

    async def update(project_id: str, model_id: str, asked: UpdateModel) -> Json:
        model = await seek.model(project_id, model_id)
        return await as_json(await control.models.update(model, asked.changes()))

    async def delete(project_id: str, model_id: str) -> Json:
        await control.models.delete(await seek.model(project_id, model_id))
        return {}

    async def deployments(project_id: str, model_id: str) -> Json:
        model = await seek.model(project_id, model_id)
        listed = await database.read(store.deployments.list_all, model.id)
        return await page("model_deployments", [deployed_json(control, each) for each in listed])

    async def stop(project_id: str, model_id: str) -> Json:
        model = await seek.model(project_id, model_id)
        stopping = await control.deployments.stop_all(model.id)
        return {"model_deployments": [deployed_json(control, each) for each in stopping]}

    async def regenerate_key(project_id: str, model_id: str) -> Json:
        model = await seek.model(project_id, model_id)
        return await as_json(await control.models.regenerate_key(model))

    async def replicas(project_id: str, model_id: str) -> Json:
        model = await seek.model(project_id, model_id)
        current = await database.read(store.deployments.current, model.id)
        pool = control.deployments.pool(current.id) if current else None
        if current is None or pool is None:
            nothing: Json = dict.fromkeys(_REQUESTS, 0)
            return {"replicas": [], **nothing, "restarts_by_caller": {}, "metrics_dropped": 0}
        dropped = control.context.metrics_writer.dropped(current.id)
        return _replicas_json(current, pool) | {"metrics_dropped": dropped}

    async def logs(project_id: str, model_id: str) -> Response:
        model = await seek.model(project_id, model_id)
        replica, stream, tail = _which_lines()
        paths = await trio.to_thread.run_sync(logs_of, control.context.data.model_logs(model.id))
        current = await database.read(store.deployments.current, model.id)
        pool = control.deployments.pool(current.id) if current else None
        known = {path.stem for path in paths} | set(pool.logs if pool else ())
        if replica and replica not in known:
            names = ", ".join(sorted(known)) or "none yet"
            raise Refusal("argument.invalid", f"replica: no log of {replica!r}; there are: {names}")
        if request.accept_mimetypes.best == "text/event-stream":
            return log_stream.follow_logs(control, model, replica, stream, tail)
        wanted = [path for path in paths if replica in ("", path.stem)]
        text = await trio.to_thread.run_sync(_tail_of, wanted, stream, tail)
        return Response(text, content_type="text/plain; charset=utf-8")

    many = "/projects/<project_id>/models"
    one = f"{many}/<model_id>"
    routing.add("GET", "/models", "any", "the models of all projects", index_all, query=PAGED)
    routing.add("GET", many, "project.view", "a project's models", index, query=PAGED)
    routing.add(
        "POST",
        many,
        "project.edit",
        "make a model",
        create,
        CreateModel,
        most=FREE_BYTES,
        action="model.create",
    )
    routing.add("GET", one, "project.view", "one model", show)
    routing.add(
        "PATCH", one, "project.edit", "change a model", update, UpdateModel, action="model.update"
    )
    routing.add(
        "POST",
        f"{one}:regenerate_key",
        "project.edit",
        "another access key: the old one is dead",
        regenerate_key,
        action="model.regenerate_key",
    )
    routing.add(
        "POST",
        f"{one}:stop",
        "model.operate",
        "stop what serves and what is on its way; which deployments that are",
        stop,
        action="model.stop",
    )
    routing.add(
        "DELETE",
        one,
        "project.edit",
        "stop a model and delete it with its builds",
        delete,
        action="model.delete",
    )
    routing.add(
        "GET",
        f"{one}/deployments",
        "project.view",
        "all deployments of a model",
        deployments,
        query=PAGED,
    )
    routing.add(
        "GET", f"{one}/replicas", "project.view", "the replicas that serve a model now", replicas
    )
    routing.add(
        "GET",
        f"{one}/logs",
        "project.view",
        "what its replicas printed; as events: live",
        logs,
        query=("replica", "stream", "tail"),
        gives=log_stream.TEXT,
        streams=True,
    )


def _replicas_json(deployment: Deployment, pool: Pool) -> Json:
    statistics = pool.statistics()
    replicas = []
    for seat in statistics.slots:
        used = process_info(seat.pid) if seat.pid is not None else None
        facts = msgspec.structs.asdict(seat)
        facts["uptime"] = round(seat.uptime, 3)
        facts |= {"deployment_number": deployment.number}
        facts |= {"rss_bytes": used.resident if used else None}
        facts |= {"cpu_seconds": used.cpu if used else None}
        replicas.append(facts)
    counts = {name: getattr(statistics, name) for name in _REQUESTS}
    return {"replicas": replicas, **counts, "restarts_by_caller": statistics.restarts_by}


def _which_lines() -> tuple[str, str, int]:
    """`replica`, `stream` and `tail` of the request. Raises Refusal."""
    stream, tail = request.args.get("stream", ""), request.args.get("tail", "200")
    if stream not in ("", "stdout", "stderr"):
        raise Refusal("argument.invalid", f"stream: {stream!r} is neither stdout nor stderr")
    if not (tail.isascii() and tail.isdecimal()) or len(tail) > 9:
        raise Refusal("argument.invalid", f"tail: {tail!r} is no number of lines")
    return request.args.get("replica", ""), stream, min(int(tail), _MOST_LINES)


def _tail_of(paths: list[Path], stream: str, tail: int) -> bytes:
    """The last lines of several logs together. Blocking; of all no more than twice so many are in
    memory: to free more of them in one go keeps other threads waiting."""
    last: list[tuple[str, Line]] = []
    for path in paths:
        kept: deque[Line] = deque(maxlen=tail)
        for block in blocks_of(path):
            kept += [line for line in block if stream in ("", line.stream)]
        last = in_order([*last, *((path.stem, line) for line in kept)])[-tail:] if tail else []
    several = len({replica for replica, _ in last}) > 1
    return "".join([f"{r} {line}\n" if several else f"{line}\n" for r, line in last]).encode()
