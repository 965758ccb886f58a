"""A stage for rollouts: real Deployments, store, endpoints and resources; pools are played.

A played pool has no process. It records in `calls` what it was asked to do. It gets ready, and is
closed, when a test says so: so a test sees what waits for what. `test_rollout.py` holds it to Pool.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiosqlite
import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import store
from builder import BuildStore, EnvironmentStore
from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.change_notifier import ChangeNotifier
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.deployments.rollout_services import RolloutServices
from gateway.control.disk.free_space import FreeSpace
from gateway.control.gpu_reservations import GpuReservations
from gateway.control.operation import OperationTimeouts
from gateway.control.probed_pools import ProbedPools
from gateway.control.resources import GIB, HostResources
from gateway.control.sandbox import Sandbox
from gateway.control.source_files import SourceFiles
from store import Ballast, Build, Database, Deployment, Failure, Model, Project, StartReserve, User
from store.sqlite.bridge import Bridge
from tests.support.control_stage import Clock, ControlStage, opened
from tests.support.gpus import PlainGpus
from tests.support.records import a_build
from workers import Network, Pool, PoolSpec, ReplicaSpec, StartFailed
from workers.confinement import Confinement, LevelChoice
from workers.gpus import Gpus

NO_ISOLATION = LevelChoice("none", {})
REPLICA = ReplicaSpec(code=Path("/c"), environment=Path("/e"), file="f.py", function="f")


class PlayedPool:
    """What Rollout and Deployments ask of a pool."""

    def __init__(self, spec: PoolSpec) -> None:
        self.spec = spec
        self.calls: list[str] = []
        self.closed = trio.Event()
        self.failure: StartFailed | None = None
        self._settled = trio.Event()

    def __repr__(self) -> str:
        return f"<PlayedPool {self.spec.name}>"

    # As of a Pool.

    async def wait_ready(self) -> None:
        await self._settled.wait()
        if self.failure is not None:
            raise self.failure

    def take_over(self, other: "PlayedPool") -> None:
        self.calls.append(f"take over {other.spec.name}")
        other.calls.append("give up what waits")

    def drain(self) -> None:
        self.calls.append("drain")

    def vacate(self, count: int) -> None:
        self.calls.append(f"vacate {count}")

    def fill_vacant(self) -> None:
        self.calls.append("fill vacant")

    def stop(self) -> None:
        self.calls.append("stop")
        if not self._settled.is_set():
            self.fail("the model was stopped before it was ready")

    def statistics(self) -> str:
        return f"of {self}"

    def tail(self, count: int) -> list[Any]:
        assert self.closed.is_set(), "what it prints last is not there yet"
        return []

    # What it plays.

    def get_ready(self) -> None:
        self._settled.set()

    def fail(self, why: str) -> None:
        self.failure = StartFailed(why)
        self._settled.set()

    def end(self) -> None:
        """Nothing is left of its processes."""
        self.closed.set()


class PlayedPools:
    """A `PoolSource` whose pools are played."""

    def __init__(self) -> None:
        self.opened: list[PlayedPool] = []
        self.is_closing = False
        # Preparing takes until this is set.
        self.may_prepare = trio.Event()
        self.may_prepare.set()

    async def prepare(
        self, deployment: Deployment, build: Build, start_tries: int, key: dict[str, str]
    ) -> PoolSpec:
        await self.may_prepare.wait()
        replica = msgspec.structs.replace(REPLICA, variables=key)
        name, nowhere = str(deployment.number), Path("/unused")
        return PoolSpec(name=name, replica=replica, log_folder=nowhere, start_tries=start_tries)

    def open(self, deployment: Deployment, spec: PoolSpec) -> Pool:
        self.opened.append(PlayedPool(spec))
        return cast(Pool, self.opened[-1])

    def adjust(self, pool: Pool) -> None:
        """Nothing to adjust."""

    def source_of(self, build: Build) -> SourceFiles:
        return SourceFiles(Path("/unused"), build.model_root, build.file, has_script=False)


class PlayedBuilds:
    """A `BuildSource` of builds that are made, unless they are lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # How builds are lost: their rebuild fails once (1), or does not end (2).
        self.lost: dict[str, int] = {}

    async def built_or_rebuilt(self, build_id: str) -> Build:
        while self.lost.get(build_id, 0) > 1:
            await trio.sleep_forever()
        build = await self._database.read(store.builds.get, build_id)
        if self.lost.pop(build_id, 0):
            failure = Failure(step="", summary="", problem="no index", advice="")
            return msgspec.structs.replace(build, status="build failed", failure=failure)
        return build

    def is_sealed_here(self, build_id: str) -> bool:
        return build_id not in self.lost

    async def watch_interpreter(self, deployment: Deployment, pool: Pool) -> bool:
        await pool.closed.wait()
        return False


class AnyNetwork(Confinement):
    """Says that it can enforce every network."""

    def missing_for(self, network: Network) -> str:
        return ""


class LargeHost(HostResources):
    """A host that always has free memory."""

    def free(self) -> int:
        return 8 * GIB


def gpus_of(stage: ControlStage, driver: PlainGpus) -> GpuReservations:
    """Reservations of GPUs that no process holds."""
    gpus = Gpus(driver, stage.data.gpus, lambda _: [])
    return GpuReservations(gpus, stage.settings)


def deployments_on(
    stage: ControlStage,
    resources: HostResources,
    builds: PlayedBuilds,
    pools: PlayedPools,
    gpus: GpuReservations | None = None,
    probed: ProbedPools | None = None,
) -> Deployments:
    """Real ones, of an isolation that enforces every network, on a disk that is never full."""
    services = RolloutServices(
        database=stage.database,
        writer=stage.writer,
        builds=builds,
        pools=pools,
        resources=resources,
        gpus=gpus or gpus_of(stage, PlainGpus(0)),
        endpoints=stage.endpoints,
        changes=ChangeNotifier(),
        variables=stage.variables,
        probed=probed or ProbedPools(),
        keys=WorkloadKeys(stage.accounts, stage.permissions),
        timeouts=OperationTimeouts(first_rebuild_retry=0.001, decrypt_retry=0.001),
    )
    folder = stage.data.root
    build_store = BuildStore(stage.data.builds, EnvironmentStore(stage.data.environments))
    confinement = AnyNetwork(NO_ISOLATION, folder)
    ballast, start_reserve = Ballast(folder / "ballast"), StartReserve(folder / "start-reserve")
    return Deployments(
        services,
        settings=stage.settings,
        tasks=stage.tasks,
        sandbox=Sandbox(confinement=confinement, settings=stage.settings, build_store=build_store),
        disk=FreeSpace(folder, ballast, start_reserve, reserve=0),
        build_store=build_store,
        set_aside=stage.set_aside,
    )


class RolloutStage(ControlStage):
    """Two projects, the first with two models, each with a build that is made."""

    deployer: User
    projects: list[Project]
    models: list[Model]
    builds: list[Build]
    deployments: Deployments

    def __init__(
        self, database: Database, folder: Path, nursery: trio.Nursery, clock: Clock | None
    ) -> None:
        super().__init__(database, folder, nursery, clock)
        self.resources = LargeHost()
        self.gpu_driver = PlainGpus(0)
        self.build_source = PlayedBuilds(database)
        self.pool_source = PlayedPools()
        # How many calls of the database have not returned.
        self.crossings = 0

    @property
    def pools(self) -> list[PlayedPool]:
        return self.pool_source.opened

    @property
    def is_memory_reserved(self) -> bool:
        return self.resources.capacity().memory_starting > 0

    async def fill(self) -> None:
        self.deployer = await self.database.write(store.users.insert, User(name="Ada"))
        self.accounts.put_user(self.deployer)
        size: Any = {"cpu_millicores": 1, "memory_mb": 1, "replicas": 1, "creator": "Ada"}
        self.projects = [
            await self.database.write(
                store.projects.insert, Project(name=name, path=name, linked=True, creator="Ada")
            )
            for name in "pq"
        ]
        self.models, self.builds = [], []
        for project, name in zip((*self.projects[:1] * 2, self.projects[1]), "abc", strict=True):
            asked = Model(project_id=project.id, name=name, **size)
            model = await self.database.write(store.models.insert, asked)
            self.endpoints.put_model(model)
            self.models.append(model)
            self.builds.append(await self.database.write(_built, model))
        self.start_over()

    def start_over(self) -> None:
        """Makes the deployments of the next gateway."""
        self.gpus = gpus_of(self, self.gpu_driver)
        self.deployments = deployments_on(
            self, self.resources, self.build_source, self.pool_source, self.gpus
        )

    # What a test does and sees.

    async def deploy(self, model: int = 0, replicas: int = 1, gpus: int = 0) -> Deployment:
        """A deployment that has continued as far as it can by itself."""
        asked = NewDeployment(cpu_millicores=1, memory_mb=1, replicas=replicas, nvidia_gpus=gpus)
        made = await self.deployments.create(
            self.models[model], self.builds[model], asked, self.deployer
        )
        await self.settled()
        return made

    async def serving(
        self, model: int = 0, replicas: int = 1, gpus: int = 0
    ) -> tuple[Deployment, PlayedPool]:
        made = await self.deploy(model, replicas, gpus)
        self.pools[-1].get_ready()
        await self.until(made, "deployed")
        return made, self.pools[-1]

    async def status(self, deployment: Deployment) -> str:
        return (await self.database.read(store.deployments.get, deployment.id)).status

    async def until(self, deployment: Deployment, status: str) -> None:
        with trio.fail_after(30):
            while await self.status(deployment) != status:  # noqa: ASYNC110 - the store has no event
                await trio.sleep(0.001)
        await self.settled()

    async def settled(self) -> None:
        """Returns when all that could happen has."""
        threads = trio.to_thread.current_default_thread_limiter()
        await wait_all_tasks_blocked()
        gpus = self.gpus.gpus.thread
        while self.crossings or threads.borrowed_tokens or gpus.borrowed_tokens:
            await trio.sleep(0.001)  # in other threads, which have no event
            await wait_all_tasks_blocked()

    def answers(self, model: int = 0) -> Pool | PlayedPool | None:
        return self.endpoints.pool_of(self.models[model].id)

    def is_running(self, deployment: Deployment) -> bool:
        return self.deployments._rollouts.get(deployment.id) is not None


async def _built(connection: aiosqlite.Connection, model: Model) -> Build:
    build = await store.builds.insert(connection, a_build(model))
    for event in ("snapshotted", "started", "built"):
        build = await store.builds.advance(connection, build.id, event)
    return build


@asynccontextmanager
async def rollout_stage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RolloutStage]:
    """The stage; at the end all that was started has ended."""
    cross = Bridge.run
    async with opened(folder, RolloutStage) as stage:

        async def counted(bridge: Bridge, work: Any) -> Any:
            stage.crossings += 1
            try:
                return await cross(bridge, work)
            finally:
                stage.crossings -= 1

        monkeypatch.setattr(Bridge, "run", counted)
        await stage.fill()
        yield stage
        for pool in stage.pools:
            pool.get_ready()
            pool.end()


def refuse(
    monkeypatch: pytest.MonkeyPatch, work: Callable[..., Any], error: Exception, times: int
) -> list[None]:
    """Has the store refuse this work so often; the list grows with each time."""
    write, seen = Database.write, list[None]()

    async def refused(self: Database, asked: Any, *args: Any, **named: Any) -> Any:
        if asked == work and len(seen) < times:
            seen.append(None)
            raise error
        return await write(self, asked, *args, **named)

    monkeypatch.setattr(Database, "write", refused)
    return seen
