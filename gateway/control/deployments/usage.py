"""The models that are active: what each asked for, and the CPU and memory that it uses now.

The CPU use comes from two samples of the processes. The earlier one is the last that was taken for
a client, or for the history; only where there is none, the request waits for a second one.
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
    """What replicas use: `cores` between the samples, `cpu_seconds` since they started, `memory` in
    bytes; of their GPUs at the last measurement how many were busy, and the memory in bytes."""

    cores: float
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
        before = self._earlier({pid for group in after for pid in group}, now)
        if before is None:
            before = _cpu_sample(now, after)
            await trio.sleep(_SAMPLE_PAUSE)
            now, after = trio.current_time(), await trio.to_thread.run_sync(sample)
        self._samples.append(_cpu_sample(now, after))
        seconds, old = now - before.at, before.seconds
        held = [[uuid for each in group for uuid in each.gpus] for group in monitored]
        gpus = map(self._recorder.usage.of_gpus, held)
        return [
            ResourceUsage(
                # Less than before if a child ended and its parent did not wait for it.
                cores=sum(max(0.0, u.cpu - old.get(pid, u.cpu)) for pid, u in new.items())
                / seconds,
                cpu_seconds=sum(each.cpu for each in new.values()),
                memory=sum(each.memory for each in new.values()),
                gpus_busy=busy,
                gpu_memory=used,
            )
            for new, (busy, used, _) in zip(after, gpus, strict=True)
        ]

    def _earlier(self, pids: set[int], now: float) -> CpuSample | None:
        """The last sample of all these processes that is neither too new nor too old."""
        for sample in sorted(
            [*self._samples, self._recorder.usage.sample], key=lambda each: each.at, reverse=True
        ):
            known = pids <= sample.seconds.keys()
            if known and _SAMPLE_PAUSE <= now - sample.at <= _OLDEST:
                return sample
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
