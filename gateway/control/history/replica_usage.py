"""The CPU and memory that the replicas of pools use, measured again and again by a thread."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import trio

from workers import Pool, Usage, all_processes


class PoolUsage(NamedTuple):
    """`cores` since the last measurement, `memory` in bytes."""

    cores: float
    memory: int


class CpuSample(NamedTuple):
    """The CPU seconds of processes at a time, by their ids."""

    at: float
    seconds: Mapping[int, float]


class ReplicaUsage:
    """Each measurement continues from the last one."""

    def __init__(self) -> None:
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
            found[pool] = PoolUsage(cores / seconds, sum(each.memory for each in trees.values()))
        return found
