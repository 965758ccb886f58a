"""The models that are active: what each asked for, and what it takes of the machine now.

Two looks at the processes, a moment apart, tell how much CPU is used: between them the machine is
left alone. Nothing is counted while nobody asks.
"""

from collections.abc import Iterable, Sequence

import aiosqlite
import msgspec
import trio

import store
from gateway.control.deployments.deployments import Deployments
from store import Database, Deployment, Model, Project
from workers import Pool, PoolStatistics, Usage, all_processes

# Between the two looks: the kernel counts CPU time in hundredths of a second.
_MOMENT = 0.5


class ResourceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What replicas take: `cores` in that moment, `cpu_seconds` since they started, `memory` in
    bytes."""

    cores: float
    cpu_seconds: float
    memory: int


class ActiveModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of which something serves, is on its way there, or down. `deployment` is the one
    that a model's status is about; `taken` is by the replicas of all of them."""

    model: Model
    project: Project
    deployment: Deployment
    statistics: PoolStatistics | None
    taken: ResourceUsage


class ActiveModels:
    """Of all projects."""

    def __init__(self, database: Database, deployments: Deployments) -> None:
        self._database = database
        self._deployments = deployments

    async def measure(self) -> list[ActiveModel]:
        """All of them, in the order in which their models were made."""
        rows = await self._database.read(_active)
        pools = [[p for d in alive if (p := self._deployments.pool(d.id))] for *_, alive in rows]
        taken = await _taken(pools)
        found = []
        for (model, project, deployment, _), takes in zip(rows, taken, strict=True):
            pool = self._deployments.pool(deployment.id)
            statistics = pool.statistics() if pool else None
            found.append(
                ActiveModel(
                    model=model,
                    project=project,
                    deployment=deployment,
                    statistics=statistics,
                    taken=takes,
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


async def _taken(pools: Sequence[Iterable[Pool]]) -> list[ResourceUsage]:
    """What the replicas of each group of pools take. One that ends meanwhile counts nothing."""
    monitored = [[each for pool in group for each in pool.monitored] for group in pools]

    def look() -> list[dict[int, Usage]]:
        there = all_processes()
        return [{each.pid: each.usage(there) for each in group} for group in monitored]

    began, before = trio.current_time(), await trio.to_thread.run_sync(look)
    await trio.sleep(_MOMENT)
    after = await trio.to_thread.run_sync(look)
    seconds = trio.current_time() - began
    return [
        ResourceUsage(
            # What had a child that ended unasked for has less than before.
            cores=sum(max(0.0, new[pid].cpu - old[pid].cpu) for pid in new) / seconds,
            cpu_seconds=sum(each.cpu for each in new.values()),
            memory=sum(each.memory for each in new.values()),
        )
        for old, new in zip(before, after, strict=True)
    ]
