"""The pool of a deployment and its replicas: what they run, as whom, within which bounds."""

from pathlib import Path

import msgspec

import store
from gateway.control import sandbox_uids
from gateway.control.context import ControlContext
from gateway.control.variables import NAME_VARIABLES, slug
from gateway.crn import crn
from gateway.settings import Settings
from store import Build, Deployment
from workers import Crns, Limits, Network, PoolSpec, ReplicaSpec
from workers.limits import MIB


async def pool_spec(
    context: ControlContext,
    deployment: Deployment,
    build: Build,
    start_tries: int,
    key: dict[str, str],
) -> PoolSpec:
    """The pool of a deployment, all but what the settings say. `key` are the variables by which its
    replicas know the key that they are given."""
    model = await context.database.read(store.models.get, deployment.model_id)
    project = await context.database.read(store.projects.get, deployment.project_id)
    variables = key | context.variables.of_model(project, deployment)
    crns = Crns(*(crn(context.workspace, item.id) for item in (model, build, deployment)))
    # As CDSW names replicas: model, its number, the deployment's, and what it runs.
    name = f"{slug(model.name)}-{model.number}-{deployment.number}"
    return PoolSpec(
        name=f"{name}-{build.id.replace('-', '')[:10]}",
        replica=replica_spec(
            context,
            build,
            variables,
            prefix=context.build_store.prefix(build.id),
            built=context.sandbox.built_at(build.id),
            identity=sandbox_uids.of_deployment(deployment),
            limits=context.sandbox.limits(deployment.memory_mb * MIB, deployment.cpu_millicores),
            network=deployment.network,
            crns=crns,
        ),
        log_folder=context.data.model_logs(model.id),
        replicas=deployment.replicas,
        start_tries=start_tries,
    )


def replica_spec(
    context: ControlContext,
    build: Build,
    variables: dict[str, str],
    *,
    prefix: Path | None,
    built: Path | None,
    identity: int,
    limits: Limits,
    network: Network = "machine",
    crns: Crns = Crns(),  # noqa: B008 - it is frozen
) -> ReplicaSpec:
    """How a replica of a build is started. `prefix` is its interpreter's folder, `built`
    where it was made, if not at HOME. Those of equal
    `identity` could meddle with another."""
    folder = context.build_store.folder(build.id)
    return ReplicaSpec(
        code=folder / "code",
        environment=folder / "environment",
        prefix=prefix,
        built=built,
        file=build.file,
        function=build.function,
        model_root=build.model_root,
        variables=variables,
        name_variables=NAME_VARIABLES,
        start_timeout=context.settings.model_start_timeout,
        reply_limit=context.settings.reply_limit,
        identity=identity,
        limits=limits,
        network=network,
        crns=crns,
    )


def with_settings(spec: PoolSpec, settings: Settings) -> PoolSpec:
    """The spec with the bounds that the settings say; they may change while the pool serves."""
    limits = msgspec.structs.replace(
        spec.replica.limits, processes=settings.processes, disk=settings.disk_limit
    )
    return msgspec.structs.replace(
        spec,
        replica=msgspec.structs.replace(
            spec.replica,
            start_timeout=settings.model_start_timeout,
            reply_limit=settings.reply_limit,
            limits=limits,
        ),
        request_timeout=settings.model_request_timeout,
        restart_on_exception=settings.restart_on_exception,
        max_requests=settings.max_requests,
        max_memory=settings.max_memory,
        queue_requests=settings.queue_requests,
        queue_bytes=settings.queue_bytes,
    )
