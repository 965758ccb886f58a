"""What is written into a group to limit it, v1 and v2: a table."""

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
    # In v2: what the group above was made to pass on, for which this process stepped aside.
    passed_on: tuple[str, ...] = ()


def apply_limits(group: Hierarchy, limits: Limits, weight: int = 0) -> None:
    """Sets the limits of a group. Raises OSError."""
    for file, text, needed in _settings(group, limits, weight or limits.cpu or 1000):
        if needed:
            write(group.folder / file, text)
        else:
            try_to_write(group.folder / file, text)


def _settings(group: Hierarchy, limits: Limits, weight: int) -> Iterator[tuple[str, str, bool]]:
    """(file, what to write, whether it must succeed), in the order in which it must be written.

    `weight` is in thousandths of a core, as `Limits.cpu` is: the share of a cgroup when the cores
    do not suffice for all.
    """
    quota = limits.cpu * _PERIOD // 1000
    for controller in group.controllers:
        match group.version, controller:
            case 1, "memory":
                yield "memory.use_hierarchy", "1", False  # long since always so
                if limits.memory:
                    yield "memory.limit_in_bytes", str(limits.memory), True
                    # Together with swap, where that is counted.
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
