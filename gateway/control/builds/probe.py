"""The probe of a finished build: one replica, started and asked for the example, unless another
build of the model was probed under the same conditions.

It sees what the first deployment will see, and gets what that asks for: the first that waits for
this build, which then serves with this replica (`probed_pools.py`). Without one, that is the
present deployment of its model, which this build may replace. It does not wait for GPUs: where none
is free, there is no probe.
"""

from collections.abc import Set
from functools import partial
from pathlib import Path

import msgspec
import trio

import builder
import store
from builder import BuildSpec, BuildStore, Interpreter, Probed, Snapshot
from gateway.control import failures, sandbox_uids
from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.gpu_reservations import GpuReservations
from gateway.control.pool_spec import (
    BuildFiles,
    PoolSpecs,
    replica_spec,
    replica_with_settings,
    with_settings,
)
from gateway.control.probed_pools import FirstReplica, ProbedPools
from gateway.control.resources import ResourceRequest
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import build_home
from gateway.control.source_files import SourceFiles
from gateway.control.variables import ProcessVariables, slug
from gateway.data_folder import DataFolder
from gateway.encryption import Encryption
from gateway.errors import Refusal
from gateway.version import version
from store import Build, Database, Deployment, Model, Project
from workers import (
    NETWORKS,
    Limits,
    Log,
    Network,
    PoolSpec,
    ProbeRaised,
    StartFailed,
    Workers,
)
from workers.sizes import MIB

# The latest builds of a model whose probes are compared.
_LOOKED_AT = 10


class _Deployments(msgspec.Struct, frozen=True):
    """Those of a model that count for a probe: `first` gives the variables and the key."""

    first: Deployment | None
    wanted: list[Deployment]


class Prober:
    """Probes builds before they are called built."""

    def __init__(
        self,
        *,
        workers: Workers,
        database: Database,
        data: DataFolder,
        variables: ProcessVariables,
        keys: WorkloadKeys,
        pool_specs: PoolSpecs,
        probed: ProbedPools,
        build_store: BuildStore,
        encryption: Encryption,
        settings: RuntimeSettings,
        gpus: GpuReservations,
    ) -> None:
        self._workers = workers
        self._gpus = gpus
        self._database = database
        self._data = data
        self._variables = variables
        self._keys = keys
        self._pool_specs = pool_specs
        self._probed = probed
        self._build_store = build_store
        self._encryption = encryption
        self._settings = settings

    def probe_of(self, build: Build, model: Model, project: Project, log: Log) -> builder.Probe:
        """The builder's PROBE step. What is printed goes to `log`."""
        example = build.example.encode() if build.example is not None else None

        async def probe(spec: BuildSpec, interpreter: Interpreter) -> Probed:
            deployments = await self._deployments(build)
            first = deployments.first
            user = first.deployer if first else build.creator
            files = BuildFiles(
                code=spec.code,
                virtualenv=spec.virtualenv,
                prefix=interpreter.prefix,
                built=build_home(spec.home),
                language=interpreter.language,
            )
            with self._keys.issued(user, project.id, "model") as key:
                replica = replica_spec(
                    build,
                    files,
                    key | self._variables.of_model(project, first),
                    identity=sandbox_uids.of_builds(project),
                    limits=_limits(await self._read(model), deployments.wanted),
                    gpus=(first or await self._read(model)).nvidia_gpus,
                    network=_network(build, deployments.wanted),
                )
                settings = self._settings.current
                pool = PoolSpec(
                    name=f"{slug(model.name)}-probe-{build.number}",
                    replica=replica_with_settings(replica, settings),
                    log_folder=self._data.model_logs(model.id),
                    request_timeout=settings.model_request_timeout,
                    start_tries=1,
                )
                conditions = await self._conditions(pool, spec, set(key), build.example)
                own = await self._first_replica(build, first, files)
                if not spec.fresh and (same := await self._probed_before(build, conditions)):
                    if own is not None:  # it starts while the build is sealed
                        self._probed.keep(
                            own.deployment_id, self._workers.open_pool(own.pool, filled=1)
                        )
                    return Probed(conditions, same_as=f"build {same.number}")
                log.write("Starting the model for a test")
                try:
                    if own is not None and await self._start_first(own, pool, log, example):
                        return Probed(conditions)
                    if not await self._start(pool, project, log, example):
                        return Probed()
                except (StartFailed, ProbeRaised) as error:
                    source = source_of(spec.code, build, Path(project.path), spec.snapshot)
                    explain = partial(failures.probe_failed, error, source)
                    raise await trio.to_thread.run_sync(explain) from error
            return Probed(conditions)

        return probe

    async def _first_replica(
        self, build: Build, first: Deployment | None, files: BuildFiles
    ) -> FirstReplica | None:
        """That of the deployment that waits for the build; None if none does, and where GPUs are
        asked for: those of a probe are reserved for it alone."""
        key = self._probed.key_of(first.id) if first and first.build_id == build.id else None
        if first is None or key is None or first.nvidia_gpus:
            return None
        spec = await self._pool_specs.describe(first, build, files, key)
        return FirstReplica(first.id, with_settings(spec, self._settings.current))

    async def _start_first(
        self, own: FirstReplica, pool: PoolSpec, log: Log, example: bytes | None
    ) -> bool:
        """Starts the first replica of a deployment. False if it has met a limit of that, or reaches
        less, and the probe may have more. Raises StartFailed, ProbeRaised."""
        try:
            opened = await self._workers.open_probed(own.pool, log, example)
        except (StartFailed, ProbeRaised) as error:
            less, more = own.pool.replica, pool.replica
            met_limit = error.cause is not None and less.limits != more.limits
            if not met_limit and less.network == more.network:
                raise
            log.write("Starting the model once more, with all that its replicas may have")
            return False
        self._probed.keep(own.deployment_id, opened)
        return True

    async def _start(
        self, pool: PoolSpec, project: Project, log: Log, example: bytes | None
    ) -> bool:
        """Starts the model, if the GPUs that it asks for are free. A build does not wait for them:
        the deployment that it replaces may hold them. Raises StartFailed, ProbeRaised."""
        reserved = None
        if pool.replica.gpus:
            try:
                reserved = await self._gpus.reserve_now(project.id, pool.replica.gpus)
            except Refusal as busy:
                log.write(f"The model is not tested: {busy.message}")
                return False
        with self._gpus.held(reserved):
            await self._workers.probe(pool, log, example)
        return True

    async def _conditions(
        self, pool: PoolSpec, spec: BuildSpec, keys: Set[str], example: str | None
    ) -> str:
        """A hash of all that a probe depends on: the files by their tree and environment, what is
        called, the example, variables but for the `keys`, limits, and predictd itself. Keyed:
        variables may be secrets."""
        replica = pool.replica
        names = sorted(replica.variables.keys() - keys)
        same = msgspec.structs.replace(
            replica,
            code=Path(await builder.tree_of(spec.snapshot)),
            built=None,
            variables={name: replica.variables[name] for name in names},
        )
        parts = [same, pool.request_timeout, example, self._workers.confinement.level, version()]
        return self._encryption.keyed_hash("probe", msgspec.json.encode(parts, enc_hook=str))

    async def _probed_before(self, build: Build, conditions: str) -> Build | None:
        """Another build of the model whose probe succeeded under these conditions."""
        listed = await self._database.read(store.builds.list_all, build.model_id)
        built = [each for each in listed if each.status == "built" and each.id != build.id]
        return await trio.to_thread.run_sync(self._with_conditions, built[-_LOOKED_AT:], conditions)

    def _with_conditions(self, builds: list[Build], conditions: str) -> Build | None:
        for each in reversed(builds):
            manifest = self._build_store.sealed(each.id)
            if manifest is not None and manifest.probed == conditions:
                return each
        return None

    async def _read(self, model: Model) -> Model:
        """The model with its present defaults."""
        return await self._database.read(store.models.get, model.id)

    async def _deployments(self, build: Build) -> _Deployments:
        listed = await self._database.read(store.deployments.list_all, build.model_id)
        wanted = [each for each in listed if each.wanted == "serve"]
        waiting = [each for each in wanted if each.build_id == build.id]
        if waiting:
            return _Deployments(waiting[0], wanted)
        present = await self._database.read(store.deployments.current, build.model_id)
        return _Deployments(present, wanted)


def _limits(model: Model, wanted: list[Deployment]) -> Limits:
    """The most that replicas of the model get: by default, or in a deployment that is wanted,
    which may have been asked for together with this build."""
    asked: list[ResourceRequest] = [model, *wanted]
    memory = max(each.memory_mb for each in asked)
    return Limits(memory=memory * MIB, cpu=max(each.cpu_millicores for each in asked))


def _network(build: Build, wanted: list[Deployment]) -> Network:
    """As much as the build may reach, or a deployment that is wanted."""
    return max((build.network, *(each.network for each in wanted)), key=NETWORKS.index)


def source_of(
    code: Path, build: Build, project: Path | None = None, snapshot: Snapshot | None = None
) -> SourceFiles:
    """What the files of a build in `code` say that may explain why its model does not start."""
    has_script = (code / build.script).is_file()
    return SourceFiles(
        code, build.model_root, build.file, has_script, project=project, snapshot=snapshot
    )
