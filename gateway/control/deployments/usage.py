"""The models that are active: what each asked for, and the CPU and memory that it uses now.

The CPU use comes from two samples of the processes, a moment apart. Nothing is measured unless a
client asks.
"""

from collections.abc import Iterable, Sequence

import aiosqlite
import msgspec
import trio

import store
from gateway.control.deployments.deployments import Deployments
from store import Database, Deployment, Model, Project
from workers import Pool, PoolStatistics, Usage, all_processes

# Seconds between the two samples: the kernel counts CPU time in hundredths of a second.
_SAMPLE_PAUSE = 0.5


class ResourceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What replicas use: `cores` between the samples, `cpu_seconds` since they started, `memory` in
    bytes."""

    cores: float
    cpu_seconds: float
    memory: int


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

    def __init__(self, database: Database, deployments: Deployments) -> None:
        self._database = database
        self._deployments = deployments

    async def measure(self) -> list[ActiveModel]:
        """All active models, in the order in which they were created."""
        rows = await self._database.read(_active)
        pools = [[p for d in alive if (p := self._deployments.pool(d.id))] for *_, alive in rows]
        usages = await _measure(pools)
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


async def _active(
    connection: aiosqlite.Connection,
) -> list[tuple[Model, Project, Deployment, list[Deployment]]]:
    """Each with its project, its current deployment, and all that have not ended."""
    alive: dict[str, list[Deployment]] = {}
    for deployment in await store.deployments.unfinished(connection):
        alive.setdefault(deployment.model_id, []).append(deployment)
    projects = {each.id: each for each in await store.projects.list_all(connection)}
    found = []
    for model in await store.models.list_all(connection):
        current = (
            await store.deployments.current(connection, model.id) if model.id in alive else None
        )
        if current is not None:
            found.append((model, projects[model.project_id], current, alive[model.id]))
    return found


async def _measure(pools: Sequence[Iterable[Pool]]) -> list[ResourceUsage]:
    """What the replicas of each group of pools use. One that ends meanwhile is not counted."""
    monitored = [[each for pool in group for each in pool.monitored] for group in pools]

    def sample() -> list[dict[int, Usage]]:
        processes = all_processes()
        return [{each.pid: each.usage(processes) for each in group} for group in monitored]

    began, before = trio.current_time(), await trio.to_thread.run_sync(sample)
    await trio.sleep(_SAMPLE_PAUSE)
    after = await trio.to_thread.run_sync(sample)
    seconds = trio.current_time() - began
    return [
        ResourceUsage(
            # Less than before if a child ended and its parent did not wait for it.
            cores=sum(max(0.0, new[pid].cpu - old[pid].cpu) for pid in new) / seconds,
            cpu_seconds=sum(each.cpu for each in new.values()),
            memory=sum(each.memory for each in new.values()),
        )
        for old, new in zip(before, after, strict=True)
    ]
