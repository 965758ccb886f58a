"""The trial of a finished build: one replica, started and asked for the example.

It sees what the first deployment will see, and gets what that asks for: the first that waits for
this build; without one the present one of its model, which this build may be the next of.
"""

from pathlib import Path

import builder
import store
from builder import BuildSpec, Interpreter
from gateway.control import failures, sandbox_uids
from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.context import ControlContext
from gateway.control.failure_causes import Place
from gateway.control.pool_spec import replica_spec, replica_with_settings
from gateway.control.resources import ResourceRequest
from gateway.control.sandbox import build_home
from gateway.control.variables import slug
from store import Build, Deployment, Model, Project
from workers import NETWORKS, Limits, Log, Network, PoolSpec, ProbeRaised, StartFailed
from workers.sizes import MIB


def probe_for(
    context: ControlContext, build: Build, model: Model, project: Project, log: Log
) -> builder.Probe:
    """The builder's PROBE step. What is printed goes to `log`."""
    example = build.example.encode() if build.example is not None else None

    async def probe(spec: BuildSpec, interpreter: Interpreter) -> None:
        first = await _first_deployment(context, build)
        user = first.deployer if first else build.creator
        keys = WorkloadKeys(context.accounts, context.permissions)
        with keys.issued(user, project.id, "model") as key:
            replica = replica_spec(
                context,
                build,
                key | context.variables.of_model(project, first),
                prefix=interpreter.prefix,
                built=build_home(spec.home),
                identity=sandbox_uids.of_builds(project),
                limits=await _limits(context, build),
                network=await _network(context, build),
            )
            pool = PoolSpec(
                name=f"{slug(model.name)}-probe-{build.number}",
                replica=replica_with_settings(replica, context.settings),
                log_folder=context.data.model_logs(model.id),
                request_timeout=context.settings.model_request_timeout,
                start_tries=1,
            )
            try:
                await context.workers.probe(pool, log, example)
            except (StartFailed, ProbeRaised) as error:
                place = place_of(context, build, Path(project.path))
                raise failures.probe_failed(error, place) from error

    return probe


async def _first_deployment(context: ControlContext, build: Build) -> Deployment | None:
    """The deployment whose variables and key the probe has: the first that waits for this build;
    without one, the present one of its model, which this build may replace."""
    database = context.database
    listed = await database.read(store.deployments.list_all, build.model_id)
    for deployment in listed:
        if deployment.build_id == build.id and deployment.wanted == "serve":
            return deployment
    return await database.read(store.deployments.current, build.model_id)


async def _limits(context: ControlContext, build: Build) -> Limits:
    """The most that replicas of the model get: by default, or in a deployment that is wanted,
    which may have been asked for together with this build."""
    database = context.database
    model = await database.read(store.models.get, build.model_id)
    listed = await database.read(store.deployments.list_all, model.id)
    asked: list[ResourceRequest] = [model, *(each for each in listed if each.wanted == "serve")]
    memory = max(each.memory_mb for each in asked)
    return Limits(memory=memory * MIB, cpu=max(each.cpu_millicores for each in asked))


async def _network(context: ControlContext, build: Build) -> Network:
    """As much as the build may reach, or a deployment that is wanted."""
    listed = await context.database.read(store.deployments.list_all, build.model_id)
    wanted = [each.network for each in listed if each.wanted == "serve"]
    return max((build.network, *wanted), key=NETWORKS.index)


def place_of(context: ControlContext, build: Build, project: Path | None = None) -> Place:
    """What there is of a build to look at when its model does not start."""
    code = context.build_store.folder(build.id) / "code"
    return Place(code, build.model_root, build.file, (code / build.script).is_file(), project)
