"""What pools and replicas are made from: what they run, as which user, within which limits."""

from pathlib import Path

import msgspec

import store
from builder import BuildStore, Language
from gateway.control import sandbox_uids
from gateway.control.sandbox import Sandbox
from gateway.control.user_variables import NAME_VARIABLES
from gateway.control.variables import ProcessVariables, slug
from gateway.crn import crn
from gateway.data_folder import DataFolder
from gateway.settings import Settings
from store import Build, Database, Deployment
from workers import Crns, Limits, Network, PoolSpec, ReplicaSpec
from workers.sizes import MIB


class BuildFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What replicas of a build are started from. `prefix` is the folder of its interpreter, `built`
    where the build was made, if not at HOME."""

    code: Path
    virtualenv: Path
    prefix: Path | None
    built: Path | None
    language: Language


class PoolSpecs:
    """Describes the pools of deployments."""

    def __init__(
        self,
        *,
        database: Database,
        data: DataFolder,
        build_store: BuildStore,
        sandbox: Sandbox,
        variables: ProcessVariables,
        instance_id: str,
    ) -> None:
        self._database = database
        self._data = data
        self._build_store = build_store
        self._sandbox = sandbox
        self._variables = variables
        self._instance_id = instance_id

    def sealed(self, build_id: str) -> BuildFiles:
        """The files of a build that is sealed."""
        return BuildFiles(
            code=self._build_store.code(build_id),
            virtualenv=self._build_store.virtualenv(build_id),
            prefix=self._build_store.prefix(build_id),
            built=self._sandbox.built_at(build_id),
            language=self._build_store.language(build_id),
        )

    async def describe(
        self, deployment: Deployment, build: Build, files: BuildFiles, key: dict[str, str]
    ) -> PoolSpec:
        """The pool of a deployment, without what the settings say (`with_settings`). `key` are the
        variables by which its replicas find their key."""
        model = await self._database.read(store.models.get, deployment.model_id)
        project = await self._database.read(store.projects.get, deployment.project_id)
        crns = Crns(*(crn(self._instance_id, item.id) for item in (model, build, deployment)))
        # As CDSW names replicas: model, its number, the deployment's, and what it runs.
        name = f"{slug(model.name)}-{model.number}-{deployment.number}"
        return PoolSpec(
            name=f"{name}-{build.id.replace('-', '')[:10]}",
            replica=replica_spec(
                build,
                files,
                key | self._variables.of_model(project, deployment),
                identity=sandbox_uids.of_deployment(deployment),
                limits=Limits(memory=deployment.memory_mb * MIB, cpu=deployment.cpu_millicores),
                gpus=deployment.nvidia_gpus,
                network=deployment.network,
                crns=crns,
            ),
            log_folder=self._data.model_logs(model.id),
            replicas=deployment.replicas,
        )


def replica_spec(
    build: Build,
    files: BuildFiles,
    variables: dict[str, str],
    *,
    identity: int,
    limits: Limits,
    gpus: int = 0,
    network: Network,
    crns: Crns = Crns(),  # noqa: B008 - it is frozen
) -> ReplicaSpec:
    """A replica of a build, without what the settings say. Replicas of equal `identity` can reach
    each other's processes and files."""
    return ReplicaSpec(
        code=files.code,
        environment=files.virtualenv,
        prefix=files.prefix,
        built=files.built,
        language=files.language,
        file=build.file,
        function=build.function,
        model_root=build.model_root,
        variables=variables,
        name_variables=NAME_VARIABLES,
        identity=identity,
        limits=limits,
        gpus=gpus,
        network=network,
        crns=crns,
    )


def replica_with_settings(spec: ReplicaSpec, settings: Settings) -> ReplicaSpec:
    """The replica with what the settings say."""
    return msgspec.structs.replace(
        spec,
        start_timeout=settings.model_start_timeout,
        max_response_size=settings.max_response_size,
        limits=msgspec.structs.replace(
            spec.limits, processes=settings.max_processes, disk=settings.max_disk
        ),
    )


def with_settings(spec: PoolSpec, settings: Settings) -> PoolSpec:
    """The pool with what the settings say, which may change while it serves."""
    return msgspec.structs.replace(
        spec,
        replica=replica_with_settings(spec.replica, settings),
        request_timeout=settings.model_request_timeout,
        restart_on_exception=settings.restart_on_exception,
        recycle_after_requests=settings.recycle_after_requests,
        recycle_above_memory=settings.recycle_above_memory,
        max_queued_requests=settings.max_queued_requests,
        max_queued_bytes=settings.max_queued_bytes,
    )
