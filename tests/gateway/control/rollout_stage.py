"""A stage for deployments: the real Deployments, Rollout, store and routes; pools are played.

A played pool has no process. It says in `told` what it was asked to do, gets ready when a test says
so, and is closed when a test says that nothing of it is left: so a test sees what waits for what.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiosqlite
import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import store
from builder import BuildStore
from gateway.background import Tasks
from gateway.control.change_notifier import ChangeNotifier
from gateway.control.context import ControlContext
from gateway.control.deployments import rollout
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.settings import Settings
from store import Build, Database, Deployment, Failure, Model, Project, User
from store.sqlite.bridge import Bridge
from tests.support.control_stage import Clock, ControlStage, opened
from tests.support.records import a_build
from workers import Pool, PoolSpec, ReplicaSpec, StartFailed

REPLICA = ReplicaSpec(code=Path("/c"), environment=Path("/e"), file="f.py", function="f")


class PlayedPool:
    """What Rollout and Deployments ask of a pool."""

    def __init__(self, spec: PoolSpec) -> None:
        self.spec = spec
        self.told: list[str] = []
        self.closed = trio.Event()
        self.failure: StartFailed | None = None
        self._settled = trio.Event()

    def __repr__(self) -> str:
        return f"<PlayedPool {self.spec.name}>"

    # What it is told.

    async def wait_ready(self) -> None:
        await self._settled.wait()
        if self.failure is not None:
            raise self.failure

    def take_over(self, other: "PlayedPool") -> None:
        self.told.append(f"take over {other.spec.name}")
        other.told.append("give up what waits")

    def drain(self) -> None:
        self.told.append("drain")

    def stop(self) -> None:
        self.told.append("stop")
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


class Deploying(ControlStage):
    """Two projects, the first with two models, each with a build that is made."""

    def __init__(
        self, database: Database, folder: Path, nursery: trio.Nursery, clock: Clock | None
    ) -> None:
        super().__init__(database, folder, nursery, clock)
        self.runtime_settings = SimpleNamespace(subscribe=lambda told: None)
        self.disk = SimpleNamespace(check_free=self.admit)
        self.resources = SimpleNamespace(check=lambda *_, **__: None, reserve_memory=self.room_for)
        self.metrics_writer = SimpleNamespace(sink_for=lambda *_: None)
        self.workers = SimpleNamespace(open_pool=self.open_pool, ending=False)
        self.sandbox = SimpleNamespace(check_network=lambda network: None)
        self.changes = ChangeNotifier()
        self.settings_now = Settings()
        self.build_store = BuildStore(Path("/unused"))
        self.pools: list[PlayedPool] = []
        # Builds that are not at hand: once in vain, or (2) for ever, are they made again.
        self.lost: dict[str, int] = {}
        # Of the memory that starting replicas are promised, how many have some; and what is asked
        # of the store just now.
        self.rooms = self.crossings = 0

    async def fill(self, nursery: trio.Nursery) -> None:
        self.tasks = Tasks(nursery)
        self.deployer = await self.database.write(store.users.insert, User(name="Ada"))
        self.accounts.put_user(self.deployer)
        size: Any = {"cpu_millicores": 1, "memory_mb": 1, "replicas": 1, "creator": "Ada"}
        self.projects = [
            await self.database.write(
                store.projects.insert, Project(name=name, path=name, linked=True, creator="Ada")
            )
            for name in "pq"
        ]
        self.models: list[Model] = []
        self.builds: list[Build] = []
        for project, name in zip((*self.projects[:1] * 2, self.projects[1]), "abc", strict=True):
            asked = Model(project_id=project.id, name=name, **size)
            model = await self.database.write(store.models.insert, asked)
            self.endpoints.put_model(model)
            self.models.append(model)
            self.builds.append(await self.database.write(_built, model))
        self.start_over()

    def start_over(self) -> None:
        """What the next gateway begins with, where this one has ended."""
        vanished = SimpleNamespace(until_closed=self.until_closed)
        builds = SimpleNamespace(
            built_or_rebuilt=self.ready, is_sealed_here=self.is_at_hand, vanished=vanished
        )
        now: Any = {"settings": self.settings_now}
        context = self.context = SimpleNamespace(**vars(self) | now)
        self.deployments = Deployments(cast(ControlContext, context), cast(Any, builds))

    async def admit(self, what: str) -> None:
        await trio.lowlevel.checkpoint()

    async def ready(self, build_id: str) -> Build:
        while self.lost.get(build_id, 0) > 1:
            await trio.sleep_forever()  # it is being made again
        build = await self.database.read(store.builds.get, build_id)
        if self.lost.pop(build_id, 0):
            failure = Failure(step="", summary="", problem="no index", advice="")
            return msgspec.structs.replace(build, status="build failed", failure=failure)
        return build

    async def until_closed(self, _: Deployment, pool: PlayedPool) -> bool:
        await pool.closed.wait()
        return False

    def is_at_hand(self, build_id: str) -> bool:
        return build_id not in self.lost

    @asynccontextmanager
    async def room_for(self, *_: object) -> AsyncIterator[None]:
        self.rooms += 1
        try:
            yield
        finally:
            self.rooms -= 1

    def open_pool(self, spec: PoolSpec, *, tracked: object) -> PlayedPool:
        self.pools.append(PlayedPool(spec))
        return self.pools[-1]

    # What a test does and sees.

    async def deploy(self, model: int = 0, replicas: int = 1) -> Deployment:
        """A deployment that goes on as far as it can by itself."""
        asked = NewDeployment(cpu_millicores=1, memory_mb=1, replicas=replicas)
        made = await self.deployments.create(
            self.models[model], self.builds[model], asked, self.deployer
        )
        await self.settled()
        return made

    async def serving(self, model: int = 0) -> tuple[Deployment, PlayedPool]:
        made = await self.deploy(model)
        self.pools[-1].get_ready()
        await self.until(made, "deployed")
        return made, self.pools[-1]

    async def status(self, deployment: Deployment) -> str:
        return (await self.database.read(store.deployments.get, deployment.id)).status

    async def until(self, deployment: Deployment, status: str) -> None:
        with trio.fail_after(30):
            while await self.status(deployment) != status:  # noqa: ASYNC110 - the store tells nobody
                await trio.sleep(0.001)
        await self.settled()

    async def settled(self) -> None:
        """Returns when all that could happen has."""
        threads = trio.to_thread.current_default_thread_limiter()
        await wait_all_tasks_blocked()
        while self.crossings or threads.borrowed_tokens:
            await trio.sleep(0.001)  # in other threads, which tell nobody
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


async def spec_of(
    context: ControlContext,
    deployment: Deployment,
    build: Build,
    start_tries: int,
    key: dict[str, str],
) -> PoolSpec:
    replica = msgspec.structs.replace(REPLICA, variables=key)
    name, nowhere = str(deployment.number), Path("/unused")
    return PoolSpec(name=name, replica=replica, log_folder=nowhere, start_tries=start_tries)


@asynccontextmanager
async def deploying(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deploying]:
    """The stage; at the end all that was started has ended."""
    monkeypatch.setattr(rollout, "pool_spec", spec_of)
    monkeypatch.setattr(rollout, "prune_logs", lambda *_: None)
    monkeypatch.setattr(rollout, "_FIRST_PAUSE", 0.001)
    cross = Bridge.run

    async with opened(folder, Deploying) as stage, trio.open_nursery() as nursery:

        async def counted(bridge: Bridge, work: Any) -> Any:
            stage.crossings += 1
            try:
                return await cross(bridge, work)
            finally:
                stage.crossings -= 1

        monkeypatch.setattr(Bridge, "cross", counted)
        await stage.fill(nursery)
        yield stage
        for pool in stage.pools:
            pool.get_ready()
            pool.end()
        nursery.cancel_scope.cancel()


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
