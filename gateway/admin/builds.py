"""Builds of a model, their logs, and the deployments of each."""

from quart import Response, request

import builder
import store
from gateway.admin import log_stream
from gateway.admin.downloads import log_text
from gateway.admin.json_body import FREE_BYTES
from gateway.admin.lookup import Lookup
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import (
    CreateBuild,
    CreateDeployment,
    Json,
    build_json,
    deployment_json,
    scaled,
)
from gateway.control import Control
from gateway.control.builds.build_task import STEPS_STREAM
from gateway.control.builds.builds import NewBuild
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.projects.launch import Launched
from gateway.control.variables import ShownVariables
from gateway.errors import Refusal
from gateway.identity.principal import is_allowed, principal
from store import Build, Deployment, Model


def add_routes(routing: Router, control: Control) -> None:
    database, seek = control.context.database, Lookup(control)

    def as_json(build: Build) -> Json:
        build = control.builds.with_live_status(build)
        return build_json(build, build.steps, control.context.workspace)

    async def index(project_id: str, model_id: str) -> Json:
        model = await seek.model(project_id, model_id)
        builds = await database.read(store.builds.list_all, model.id)
        return await page("model_builds", [as_json(b) for b in builds])

    async def create(project_id: str, model_id: str, asked: CreateBuild) -> Json:
        model = await seek.model(project_id, model_id)
        deployment = new_deployment(model, asked.auto_deployment_config)
        # Sizes of a deployment that is to follow are refused before anything is built.
        if asked.auto_deployment_config is not None:
            control.deployments.check(project_id, deployment, model_id=model.id)
        launched = await control.launcher.build(
            model,
            new_build(asked),
            deployment if asked.auto_deploy_model else None,
            principal().user,
        )
        return as_json(launched.build) | launched_json(control, launched)

    async def show(project_id: str, model_id: str, build_id: str) -> Json:
        return as_json(await seek.build(project_id, model_id, build_id))

    async def delete(project_id: str, model_id: str, build_id: str) -> Json:
        build = await seek.build(project_id, model_id, build_id)
        await control.builds.delete(project_id, build)
        return {}

    async def log(project_id: str, model_id: str, build_id: str) -> Response:
        build = await seek.build(project_id, model_id, build_id)
        if request.accept_mimetypes.best == "text/event-stream":
            return log_stream.follow_build(control, build)
        return log_text(control.context.data.build_log(build.id), without=STEPS_STREAM)

    async def deployments(project_id: str, model_id: str, build_id: str) -> Json:
        build = await seek.build(project_id, model_id, build_id)
        mine = await database.read(store.deployments.list_all, build.model_id)
        listed = [deployed_json(control, d) for d in mine if d.build_id == build.id]
        return await page("model_deployments", listed)

    async def deploy(
        project_id: str, model_id: str, build_id: str, asked: CreateDeployment
    ) -> Json:
        build = await seek.build(project_id, model_id, build_id)
        model = await seek.model(project_id, model_id)
        new = new_deployment(model, asked)
        if not is_allowed(control.context.accounts, "project.edit", project_id):
            new = await control.deployments.as_before(model, new)
        made = await control.deployments.create(model, build, new, principal().user)
        return deployed_json(control, made)

    async def deployment(project_id: str, model_id: str, build_id: str, deployment_id: str) -> Json:
        found = await seek.deployment(project_id, model_id, build_id, deployment_id)
        return deployed_json(control, found)

    async def stop(project_id: str, model_id: str, build_id: str, deployment_id: str) -> Json:
        found = await seek.deployment(project_id, model_id, build_id, deployment_id)
        return deployed_json(control, await control.deployments.stop(found))

    async def restart(project_id: str, model_id: str, build_id: str, deployment_id: str) -> Json:
        found = await seek.deployment(project_id, model_id, build_id, deployment_id)
        await control.deployments.restart(found)
        return deployed_json(control, found)

    many = "/projects/<project_id>/models/<model_id>/builds"
    one = f"{many}/<build_id>"
    routing.add("GET", many, "project.view", "the builds of a model", index, query=PAGED)
    routing.add(
        "POST",
        many,
        "project.edit",
        "build a model",
        create,
        CreateBuild,
        most=FREE_BYTES,
        action="build.create",
    )
    routing.add("GET", one, "project.view", "one build", show)
    routing.add(
        "DELETE",
        one,
        "project.edit",
        "delete a build that is not deployed",
        delete,
        action="build.delete",
    )
    routing.add(
        "GET",
        f"{one}/log",
        "project.view",
        "what a build printed; as events: live",
        log,
        gives=log_stream.TEXT,
        streams=True,
    )
    routing.add(
        "GET",
        f"{one}/deployments",
        "project.view",
        "the deployments of a build",
        deployments,
        query=PAGED,
    )
    routing.add(
        "POST",
        f"{one}/deployments",
        "model.operate",
        "deploy a build",
        deploy,
        CreateDeployment,
        action="deployment.create",
    )
    its = f"{one}/deployments/<deployment_id>"
    routing.add("GET", its, "project.view", "one deployment", deployment)
    routing.add(
        "POST", f"{its}:stop", "model.operate", "stop serving it", stop, action="deployment.stop"
    )
    routing.add(
        "POST",
        f"{its}:restart",
        "model.operate",
        "start its replicas anew, one after the other",
        restart,
        action="deployment.restart",
    )


def deployed_json(control: Control, deployment: Deployment) -> Json:
    """A deployment as whoever asks may see it, with what it is doing now."""
    pool = control.deployments.pool(deployment.id)
    edits = is_allowed(control.context.accounts, "project.edit", deployment.project_id)
    return deployment_json(
        deployment,
        pool.statistics() if pool else None,
        control.deployments.waiting_for(deployment.id),
        control.context.workspace,
        control.context.variables.shown(deployment) if edits else ShownVariables(),
    )


def launched_json(control: Control, launched: Launched) -> Json:
    """The deployment that a request for a build has started, null without one."""
    started = launched.deployment
    return {"model_deployment": deployed_json(control, started) if started else None}


def new_build(asked: CreateBuild) -> NewBuild:
    """What the control is asked for. A runtime, where one is named, says what the kernel is."""
    example = bytes(asked.example).decode()
    return NewBuild(
        file=asked.file_path,
        function=asked.function_name,
        kernel=asked.runtime_identifier or asked.kernel,
        comment=asked.comment,
        example=None if example == "null" else example,
        model_root=asked.model_root_dir,
        script=asked.build_script_path or builder.DEFAULT_SCRIPT,
        network=asked.network,
    )


def new_deployment(
    defaults: Model | NewDeployment, asked: CreateDeployment | None
) -> NewDeployment:
    """What the control is asked for, the defaults where nothing is said."""
    asked = asked or CreateDeployment()
    if asked.nvidia_gpus:
        raise Refusal("feature.unsupported", "nvidia_gpus: predictd does not assign GPUs")
    return NewDeployment(
        cpu_millicores=scaled("cpu", asked.cpu, 1000, defaults.cpu_millicores),
        memory_mb=scaled("memory", asked.memory, 1024, defaults.memory_mb),
        replicas=defaults.replicas if asked.replicas is None else asked.replicas,
        network=asked.network,
        environment=asked.environment,
        secrets=asked.secrets,
    )
