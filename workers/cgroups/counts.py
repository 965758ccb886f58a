"""The counters of a cgroup: the memory that it used, and the limits that it reached."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from workers.cgroups.files import number, numbers
from workers.cgroups.hierarchy import Hierarchy
from workers.cgroups.membership import CgroupMembership
from workers.limits import CgroupCounters

# The largest single allocation: a cgroup that met its limit may be this far below it.
_SLACK = 4 * 1024 * 1024


def add_counters(counters: CgroupCounters, group: Hierarchy) -> CgroupCounters:
    new: dict[str, float | bool] = {}
    folder = group.folder
    if "memory" in group.controllers and group.version == 1:
        new["memory_kills"] = numbers(folder / "memory.oom_control").get("oom_kill", 0)
        # gotcha G1 in README: memory.failcnt is no evidence.
        most, limit = number(folder / "memory.max_usage_in_bytes"), memory_limit(1, folder)
        new["met_own"] = limit is not None and most >= limit - _SLACK
    elif "memory" in group.controllers:
        events = numbers(folder / "memory.events")
        new["memory_kills"], new["met_own"] = events.get("oom_kill", 0), events.get("oom", 0) > 0
    if "cpu" in group.controllers:
        counted = numbers(folder / "cpu.stat")
        nanoseconds = counted.get("throttled_time", 0) + 1000 * counted.get("throttled_usec", 0)
        new["throttled"] = nanoseconds / 1e9
    if "pids" in group.controllers:
        new["forks_refused"] = numbers(folder / "pids.events").get("max", 0)
    return msgspec.structs.replace(counters, **new)


def memory_groups(found: Iterable[CgroupMembership]) -> list[tuple[int, Path]]:
    """The version and folder of every cgroup whose memory limit applies to a process: its own and
    those above it."""
    for membership in found:
        if membership.version == 2 or "memory" in membership.controllers:
            above = [f for f in membership.folder.parents if f.is_relative_to(membership.mount)]
            groups = [(membership.version, folder) for folder in (membership.folder, *above)]
            if any(memory_limit(*group) is not None for group in groups):
                return groups
    return []


def memory_limit(version: int, folder: Path) -> int | None:
    """The limit of one group, in bytes; None where it has none."""
    try:
        text = (folder / ("memory.limit_in_bytes" if version == 1 else "memory.max")).read_text()
    except OSError:
        return None
    # v1 writes "no limit" as a number beyond all memory.
    return None if text.strip() == "max" or int(text) >= 1 << 60 else int(text)


def memory_used(version: int, folder: Path) -> int:
    """The part of a group's memory that the kernel cannot reclaim at once. Raises OSError."""
    name, idle = (
        ("memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.current", "inactive_file")
    )
    return max(0, number(folder / name) - numbers(folder / "memory.stat").get(idle, 0))
