"""The CPU, memory and GPUs that the replicas of pools use, measured again and again by threads."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import trio

from gateway.control.history.points import Point
from workers import Pool, Usage, all_processes
from workers.gpus import Gpus

# Seconds that a measurement waits for the driver of GPUs.
_DRIVER_PATIENCE = 1.0


class PoolUsage(NamedTuple):
    """`cores` since the last measurement, `memory` in bytes; how many GPUs were `gpus_busy` in the
    last moment, on average, and the memory that is used of them and that they have."""

    cores: float
    memory: int
    gpus_busy: float = 0.0
    gpu_memory: int = 0
    gpu_memory_limit: int = 0

    def put_into(self, point: Point) -> None:
        """Makes the point one of this measurement."""
        point.samples, point.cores, point.memory = 1, round(self.cores, 4), self.memory
        point.gpus_busy, point.gpu_memory = round(self.gpus_busy, 4), self.gpu_memory
        point.gpu_memory_limit = self.gpu_memory_limit


class CpuSample(NamedTuple):
    """The CPU seconds of processes at a time, by their ids."""

    at: float
    seconds: Mapping[int, float]


class ReplicaUsage:
    """Each measurement continues from the last one."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        # CPU seconds by process.
        self._cpu: dict[int, float] = {}
        self._at = trio.current_time()

    @property
    def sample(self) -> CpuSample:
        """The last measurement."""
        return CpuSample(self._at, self._cpu)

    async def measure(self, pools: Iterable[Pool]) -> dict[Pool, PoolUsage]:
        """What the replicas of each pool use. A process that was not there before has used no
        CPU."""
        monitored = {pool: pool.monitored for pool in pools}

        def sample() -> dict[Pool, dict[int, Usage]]:
            processes = all_processes()
            return {
                pool: {each.pid: each.usage(processes) for each in trees}
                for pool, trees in monitored.items()
            }

        held = [uuid for trees in monitored.values() for each in trees for uuid in each.gpus]
        with trio.move_on_after(_DRIVER_PATIENCE):
            await self._gpus.measure(held)
        sampled = await trio.to_thread.run_sync(sample) if monitored else {}
        now = trio.current_time()
        seconds, self._at = max(now - self._at, 0.1), now
        before, self._cpu = self._cpu, {}
        found = {}
        for pool, trees in sampled.items():
            cores = 0.0
            for pid, usage in trees.items():
                self._cpu[pid] = usage.cpu
                cores += max(0.0, usage.cpu - before.get(pid, usage.cpu))
            found[pool] = PoolUsage(
                cores / seconds,
                sum(each.memory for each in trees.values()),
                *self.of_gpus(uuid for each in monitored[pool] for uuid in each.gpus),
            )
        return found

    def of_gpus(self, uuids: Iterable[str]) -> tuple[float, int, int]:
        """How many of these are busy, the memory that is used of them, and what they have."""
        uses = {uuid: self._gpus.uses[uuid] for uuid in uuids if uuid in self._gpus.uses}
        known = sum(each.memory for each in self._gpus.usable if each.uuid in uses)
        busy = sum(each.busy or 0.0 for each in uses.values())
        return busy, sum(each.memory for each in uses.values()), known
