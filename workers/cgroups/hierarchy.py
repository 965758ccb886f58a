"""What to write into a cgroup to limit it, for v1 and v2: a table."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from workers.cgroups.files import try_to_write, write
from workers.limits import Limits

_PERIOD = 100_000  # microseconds, the kernel's own default


class Hierarchy(msgspec.Struct, frozen=True):
    """The instance's folder in one hierarchy, and the controllers that limit its leaves there."""

    version: int
    folder: Path
    controllers: tuple[str, ...]
    # In v2: the controllers that we made the cgroup above pass on, after this process left it.
    passed_on: tuple[str, ...] = ()


def apply_limits(group: Hierarchy, limits: Limits, weight: int = 0) -> None:
    """Sets the limits of a cgroup. Raises OSError."""
    for file, text, needed in _settings(group, limits, weight or limits.cpu or 1000):
        if needed:
            write(group.folder / file, text)
        else:
            try_to_write(group.folder / file, text)


def _settings(group: Hierarchy, limits: Limits, weight: int) -> Iterator[tuple[str, str, bool]]:
    """(file, text to write, whether the write must succeed), in the necessary order.

    `weight` is in thousandths of a core, as `Limits.cpu` is: the share of a cgroup when the cores
    do not suffice for all.
    """
    quota = limits.cpu * _PERIOD // 1000
    for controller in group.controllers:
        match group.version, controller:
            case 1, "memory":
                yield "memory.use_hierarchy", "1", False  # always so on recent kernels
                if limits.memory:
                    yield "memory.limit_in_bytes", str(limits.memory), True
                    # Memory and swap together, where swap is counted.
                    yield "memory.memsw.limit_in_bytes", str(limits.memory), False
            case 2, "memory":
                if limits.memory:
                    yield "memory.max", str(limits.memory), True
                    yield "memory.swap.max", "0", False
            case 1, "cpu":
                yield "cpu.shares", str(max(2, weight * 1024 // 1000)), True
                if quota:
                    yield "cpu.cfs_period_us", str(_PERIOD), True
                    yield "cpu.cfs_quota_us", str(max(1000, quota)), True
            case 2, "cpu":
                yield "cpu.weight", str(min(10_000, max(1, weight // 10))), True
                if quota:
                    yield "cpu.max", f"{max(1000, quota)} {_PERIOD}", True
            case _, "pids":
                if limits.processes:
                    yield "pids.max", str(limits.processes), True
