"""What the kernel lets this process have: descriptors, tasks and memory, each with its usage.

Several limits bound each: the resource limits of the process, its cgroups and those above them, and
the whole machine. The nearest limit is reported. A task is a process or a thread.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from workers.cgroups import memberships, memory_groups, memory_limit, memory_used, own_memberships
from workers.cgroups.membership import CgroupMembership
from workers.shortages import DESCRIPTORS, TASKS, Shortage, is_shortage, is_without_thread

# RLIMIT_NPROC does not bind root before Linux 5.14, or in a process with CAP_SYS_RESOURCE.
_ROOT = 0


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """How many of something there may be, 0 for no limit; what sets the limit, and how to raise
    it."""

    most: int
    used: int
    source: str
    remedy: str

    @property
    def free(self) -> int:
        """How many more there may be; a large number where there is no limit."""
        return max(0, self.most - self.used) if self.most else 1 << 62

    def __str__(self) -> str:
        return f"{self.used} of {self.most} by {self.source}" if self.most else "no limit"


_NO_BOUND = Bound(most=0, used=0, source="", remedy="")


def descriptors(pid: int | None = None) -> Bound:
    """The open files of a process, by default this one."""
    who = "self" if pid is None else str(pid)
    most = _soft_limit(who, "Max open files")
    used = 0
    with suppress(OSError):  # no descriptor left to read it with, or no permission
        used = len(os.listdir(f"/proc/{who}/fd"))
    return Bound(
        most=most,
        used=used or most,
        source="RLIMIT_NOFILE",
        remedy="raise it with `ulimit -n`, or LimitNOFILE= of its unit, before the start",
    )


def tasks(pid: int | None = None) -> Bound:
    """The processes and threads that count against a process's nearest task limit."""
    return min(_tasks(pid), key=lambda bound: bound.free, default=_NO_BOUND)


def _tasks(pid: int | None) -> Iterator[Bound]:
    for folder in _pids_folders(pid):
        with suppress(OSError, ValueError):  # "max" is no limit
            yield Bound(
                most=int((folder / "pids.max").read_text()),
                used=int((folder / "pids.current").read_text()),
                source=f"pids.max of the cgroup {folder}",
                remedy="raise it there, or by TasksMax= of its unit, or the container's pids limit",
            )
    who = "self" if pid is None else str(pid)
    user = _user(who)
    if user != _ROOT and (most := _soft_limit(who, "Max processes")):
        yield Bound(
            most=most,
            used=_tasks_of(user),
            source="RLIMIT_NPROC",
            remedy="raise it with `ulimit -u`, or LimitNPROC= of its unit, before the start",
        )
    with suppress(OSError, ValueError):
        yield Bound(
            most=int(Path("/proc/sys/kernel/threads-max").read_text()),
            used=int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2]),
            source="kernel.threads-max",
            remedy="raise it with `sysctl kernel.threads-max`",
        )


def memory(pid: int | None = None) -> Bound:
    """The memory of the process's cgroup, or of the one above it that has the least free."""
    found = []
    for version, folder in memory_groups(_memberships(pid)):
        with suppress(OSError):
            limit = memory_limit(version, folder)
            if limit is not None:
                used = memory_used(version, folder)
                found.append(_memory_bound(limit, used, f"the cgroup {folder}"))
    return min(found, key=lambda bound: bound.free, default=_NO_BOUND)


def _memory_bound(most: int, used: int, source: str) -> Bound:
    remedy = "raise it there, or by MemoryMax= of its unit, or the container's memory limit"
    return Bound(most=most, used=used, source=source, remedy=remedy)


def explain(error: BaseException) -> str:
    """For operators: which limit a shortage reached and how to raise it; the text of any other
    error."""
    if isinstance(error, Shortage) or not is_shortage(error):
        return str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in DESCRIPTORS:
        return _said("no more descriptors", descriptors())
    if number in TASKS or is_without_thread(error):
        return _said("no more processes or threads", tasks())
    return "the system has no memory for it; stop other programs, or raise the memory limit"


def _said(what: str, bound: Bound) -> str:
    return f"{what}: {bound}; {bound.remedy}" if bound.most else what


def raise_descriptors() -> None:
    """Raises the limit of descriptors to the hard limit, which any process may do."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def hard_descriptors() -> int:
    """What `raise_descriptors` would raise the limit to, 0 for none."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if most == resource.RLIM_INFINITY else most


def _memberships(pid: int | None) -> list[CgroupMembership]:
    with suppress(OSError):
        if pid is None:
            return own_memberships()
        group = Path(f"/proc/{pid}/cgroup").read_text()
        return memberships(group, Path("/proc/self/mountinfo").read_text())
    return []


def _pids_folders(pid: int | None) -> Iterator[Path]:
    for membership in _memberships(pid):
        if membership.version == 2 or "pids" in membership.controllers:
            yield membership.folder
            yield from (f for f in membership.folder.parents if f.is_relative_to(membership.mount))


def _soft_limit(who: str, name: str) -> int:
    """From /proc/<pid>/limits, 0 for none; proc(5)."""
    with suppress(OSError):
        for line in Path(f"/proc/{who}/limits").read_text().splitlines():
            if line.startswith(name):
                value = line.removeprefix(name).split()[0]
                return 0 if value == "unlimited" else int(value)
    # There was no descriptor left for the file.
    kind = resource.RLIMIT_NOFILE if name == "Max open files" else resource.RLIMIT_NPROC
    soft, _ = resource.getrlimit(kind)
    return 0 if soft == resource.RLIM_INFINITY else soft


def _user(who: str) -> int:
    with suppress(OSError):
        return os.stat(f"/proc/{who}").st_uid
    return os.getuid()


def _tasks_of(user: int) -> int:
    """The number of a user's processes and threads."""
    count, there = 0, list[str]()
    with suppress(OSError):  # no descriptor left
        there = os.listdir("/proc")
    for name in filter(str.isdecimal, there):
        with suppress(OSError):  # ended meanwhile
            if os.stat(f"/proc/{name}").st_uid == user:
                count += os.stat(f"/proc/{name}/task").st_nlink - 2
    return count
