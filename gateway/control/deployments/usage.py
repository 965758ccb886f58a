"""The models that are active: what each asked for, and the CPU and memory that it uses now.

The CPU use comes from two samples of the processes. The earlier one is the last that was taken for
a client, or for the history; where there is none of a process yet, its CPU use is not known yet.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import aiosqlite
import msgspec
import trio

import store
from gateway.control.deployments.deployments import Deployments
from gateway.control.history.recorder import TrafficRecorder
from gateway.control.history.replica_usage import CpuSample
from store import Database, Deployment, Model, Project
from workers import Pool, PoolStatistics, Usage, all_processes

# Seconds between the two samples: the kernel counts CPU time in hundredths of a second.
_SAMPLE_PAUSE, _OLDEST = 0.5, 60.0
# Samples that are kept for the next clients.
_KEPT = 8


class ResourceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What replicas use: `cores` between two samples, None before the second one, `cpu_seconds`
    since they started, `memory` in bytes; of their GPUs at the last measurement how many were busy,
    and the memory in bytes."""

    cores: float | None
    cpu_seconds: float
    memory: int
    gpus_busy: float = 0.0
    gpu_memory: int = 0


class ActiveModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model with deployments that have not ended. `deployment` is its current one; `used` is by
    the replicas of all of them."""

    model: Model
    project: Project
    deployment: Deployment
    statistics: PoolStatistics | None
    used: ResourceUsage


class ActiveModels:
    """The active models of all projects."""

    def __init__(
        self, database: Database, deployments: Deployments, recorder: TrafficRecorder
    ) -> None:
        self._database = database
        self._deployments = deployments
        self._recorder = recorder
        self._samples: deque[CpuSample] = deque(maxlen=_KEPT)

    async def measure(self) -> list[ActiveModel]:
        """All active models, in the order in which they were created."""
        rows = await self._database.read(_active)
        pools = [[p for d in alive if (p := self._deployments.pool(d.id))] for *_, alive in rows]
        usages = await self._measure(pools)
        found = []
        for (model, project, deployment, _), usage in zip(rows, usages, strict=True):
            pool = self._deployments.pool(deployment.id)
            statistics = pool.statistics() if pool else None
            found.append(
                ActiveModel(
                    model=model,
                    project=project,
                    deployment=deployment,
                    statistics=statistics,
                    used=usage,
                )
            )
        return found

    async def _measure(self, pools: Sequence[Iterable[Pool]]) -> list[ResourceUsage]:
        """What the replicas of each group of pools use. One that ends meanwhile is not counted."""
        monitored = [[each for pool in group for each in pool.monitored] for group in pools]
        if not any(monitored):
            return [ResourceUsage(cores=0.0, cpu_seconds=0.0, memory=0) for _ in pools]

        def sample() -> list[dict[int, Usage]]:
            processes = all_processes()
            return [{each.pid: each.usage(processes) for each in group} for group in monitored]

        now, after = trio.current_time(), await trio.to_thread.run_sync(sample)
        earlier = self._earlier(now)
        self._samples.append(_cpu_sample(now, after))
        held = [[uuid for each in group for uuid in each.gpus] for group in monitored]
        gpus = map(self._recorder.usage.of_gpus, held)
        return [
            ResourceUsage(
                cores=cores_of(new, earlier, now),
                cpu_seconds=sum(each.cpu for each in new.values()),
                memory=sum(each.memory for each in new.values()),
                gpus_busy=busy,
                gpu_memory=used,
            )
            for new, (busy, used, _) in zip(after, gpus, strict=True)
        ]

    def _earlier(self, now: float) -> list[CpuSample]:
        """The samples that are neither too new nor too old, the last first."""
        samples = [*self._samples, self._recorder.usage.sample]
        samples.sort(key=lambda each: each.at, reverse=True)
        return [each for each in samples if _SAMPLE_PAUSE <= now - each.at <= _OLDEST]


def cores_of(group: Mapping[int, Usage], earlier: Sequence[CpuSample], now: float) -> float | None:
    """What the processes of a group have used since the last sample that has them all."""
    for before in earlier:
        old = before.seconds
        if group.keys() <= old.keys():
            # Less than before if a child ended and its parent did not wait for it.
            used = sum(max(0.0, usage.cpu - old[pid]) for pid, usage in group.items())
            return used / (now - before.at)
    return None


def _cpu_sample(at: float, groups: Iterable[Mapping[int, Usage]]) -> CpuSample:
    return CpuSample(at, {pid: usage.cpu for group in groups for pid, usage in group.items()})


async def _active(
    connection: aiosqlite.Connection,
) -> list[tuple[Model, Project, Deployment, list[Deployment]]]:
    """Each with its project, its current deployment, and all that have not ended."""
    alive: dict[str, list[Deployment]] = {}
    for deployment in await store.deployments.unfinished(connection):
        alive.setdefault(deployment.model_id, []).append(deployment)
    projects = {each.id: each for each in await store.projects.list_all(connection)}
    current = await store.deployments.current_of(connection, list(alive))
    return [
        (model, projects[model.project_id], current[model.id], alive[model.id])
        for model in await store.models.list_all(connection)
        if model.id in current
    ]
