"""The CPU and memory of the machine, and which deployments and scripts may start on it.

The memory that is really free counts, not the sum of the limits of deployments: most models stay
far below their limits. A deployment may start when one of its replicas fits into the free memory,
less the memory that starting deployments may still use. It waits while others start, since their
real use is known once they are ready. If it does not fit then, it fails with the numbers.
Deployments that served before a restart are not checked.

Between projects: starting deployments of other projects count up to half of the free memory, for
any request and any duration. While a project waits and has nothing starting, a project that has a
start in progress does not start more.

A script (of an experiment), or what runs in a session, is never "ready". So the memory that it
requested and does not use yet counts as long as it runs, but only for other scripts and sessions. A
deployment starts beside them by the memory that is really free.

CPU may be allocated more than once: when all replicas compute, each gets its share. But no replica
can have more than the machine has.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import psutil
import trio

from gateway.errors import Refusal
from workers import Cgroups
from workers.cgroups import memory_groups, memory_limit, memory_used, own_memberships
from workers.sizes import MIB, human_size

GIB = 1024 * MIB
# Seconds between two checks: other processes may free memory too.
_CHECK_PAUSE = 1.0


class ResourceRequest(Protocol):
    """The resources that a deployment requests for each of its replicas."""

    @property
    def cpu_millicores(self) -> int: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def replicas(self) -> int: ...


class NotEnoughMemory(Exception):
    """A deployment does not fit into the free memory."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes: of the machine or the container; for all models together, and how much of it
    is free; what starting deployments may still use.

    `holds` names the limits that the kernel enforces, by which version of `cgroups`.
    """

    cores: int
    memory: int
    memory_for_models: int
    memory_free: int
    memory_starting: int
    default_memory_mb: int
    cgroups: str
    holds: tuple[str, ...]


class ScriptMemory:
    """The memory that a script or a session has reserved; while it runs, it uses a part of it."""

    def __init__(self, project_id: str, memory: int) -> None:
        self.project_id = project_id
        self.reserved = memory
        self.used: Callable[[], int] = lambda: 0

    def measure_by(self, used: Callable[[], int]) -> None:
        """From now on `used` returns the bytes that the script uses."""
        self.used = used


class HostResources:
    """This machine, or the container that the gateway is in."""

    def __init__(self) -> None:
        self.cores = len(os.sched_getaffinity(0))
        self._groups = memory_groups(own_memberships())
        limits = [limit for group in self._groups if (limit := memory_limit(*group)) is not None]
        self.memory = min([psutil.virtual_memory().total, *limits])
        # For the gateway, the page cache of builds, and the system.
        self._reserve = min(max(self.memory // 20, 128 * MIB), 2 * GIB)
        self.for_models = self.memory - self._reserve
        self._cgroups = Cgroups()
        # By project: the bytes that its starting deployments may still use; its waiting requests.
        self._starting: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = trio.Event()
        self._scripts: list[ScriptMemory] = []

    def attach_cgroups(self, cgroups: Cgroups) -> None:
        """From now on models run in these cgroups."""
        self._cgroups = cgroups

    @property
    def default_memory_mb(self) -> int:
        """The memory of a replica by default: CDSW's 2 GB, or a quarter of a small machine, so that
        more than one replica fits."""
        return max(64, min(2048, self.for_models // 4 // MIB // 64 * 64))

    def free(self) -> int:
        """The bytes that more models could use now. Blocking, for moments."""
        available = [psutil.virtual_memory().available]
        available += [free for group in self._groups if (free := _free_in(*group)) is not None]
        of_models = [
            free
            for each in self._cgroups.hierarchies
            if "memory" in each.controllers
            if (free := _free_in(each.version, each.folder)) is not None
        ]
        return max(0, min([min(available) - self._reserve, self.for_models, *of_models]))

    def capacity(self) -> Capacity:
        return Capacity(
            cores=self.cores,
            memory=self.memory,
            memory_for_models=self.for_models,
            memory_free=self.free(),
            memory_starting=self._starting.total(),
            default_memory_mb=self.default_memory_mb,
            cgroups=self._cgroups.version,
            holds=self._cgroups.enforced,
        )

    def check(self, asked: ResourceRequest, *, now: bool) -> None:
        """Raises Refusal if one replica could never run here; with `now`, also if it would have to
        wait until others stop."""
        if asked.cpu_millicores > 1000 * self.cores:
            text = f"not enough CPU: asked {asked.cpu_millicores / 1000:g}, the machine has"
            raise Refusal("resources.exceeded", f"{text} {self.cores}")
        memory = asked.memory_mb * MIB
        if memory > self.for_models:
            text = f"not enough memory: asked {human_size(memory)}, models may take"
            raise Refusal(
                "resources.exceeded", f"{text} {human_size(self.for_models)} on this machine"
            )
        if now and not self._starting and memory > (free := self.free()):
            raise Refusal("resources.busy", _too_little(memory, free))

    @asynccontextmanager
    async def reserve_memory(
        self, asked: ResourceRequest, project_id: str, tell: Callable[[str], object]
    ) -> AsyncIterator[None]:
        """Reserves memory while the replicas of a project's deployment start. Waits for others that
        are starting, and calls `tell` at each check with what is missing. Raises NotEnoughMemory.
        """
        memory = asked.memory_mb * MIB
        self._waiting[project_id] += 1
        try:
            await self._wait_for(memory, project_id, tell)
        finally:
            self._waiting[project_id] -= 1
        promised = memory * asked.replicas
        self._starting[project_id] += promised
        try:
            yield
        finally:
            self._starting[project_id] -= promised
            # Without the projects that are at 0.
            self._starting, self._waiting = +self._starting, +self._waiting
            self._changed.set()
            self._changed = trio.Event()

    @asynccontextmanager
    async def reserve_for_script(
        self, asked: ResourceRequest, project_id: str, tell: Callable[[str], object]
    ) -> AsyncIterator[ScriptMemory]:
        """Reserves memory for a script or a session as long as it runs, since the time of its peak
        is unknown. Only other scripts and sessions do not get memory that it does not use yet.
        Calls `tell` while deployments start. Raises NotEnoughMemory."""
        memory = asked.memory_mb * MIB
        await self._wait_for(memory, project_id, tell, scripts=True)
        script = ScriptMemory(project_id, memory)
        self._scripts.append(script)
        try:
            yield script
        finally:
            self._scripts.remove(script)

    def fits(self, asked: ResourceRequest, project_id: str) -> bool:
        """Whether a deployment of a project would get its memory at once. Blocking, for moments."""
        free = self.free()
        reserved = self._reserved(project_id, free)
        return self._is_free(asked.memory_mb * MIB, free - reserved, project_id)

    async def _wait_for(
        self, memory: int, project_id: str, tell: Callable[[str], object], scripts: bool = False
    ) -> None:
        while True:
            free = self.free()
            unused = self._unused_by_scripts(project_id, free) if scripts else 0
            reserved = self._reserved(project_id, free) + unused
            if self._is_free(memory, free - reserved, project_id):
                return
            if not self._starting:
                running = f", of which experiments and sessions may take {human_size(unused)}"
                raise NotEnoughMemory(_too_little(memory, free) + (running if unused else ""))
            starting = f"of which models that start may take {human_size(reserved)}"
            tell(f"{_asked(memory, free)}, {starting}")
            with trio.move_on_after(_CHECK_PAUSE):
                await self._changed.wait()

    def _is_free(self, memory: int, unreserved: int, project_id: str) -> bool:
        return memory <= unreserved and not self._must_yield(project_id)

    def _reserved(self, project_id: str, free: int) -> int:
        """The memory that starting deployments may still use, as it counts for a project."""
        own = self._starting[project_id]
        return own + min(self._starting.total() - own, free // 2)

    def _unused_by_scripts(self, project_id: str, free: int) -> int:
        """The memory that running scripts may still use, as it counts for a project's script."""
        unused: Counter[str] = Counter()
        for each in self._scripts:
            unused[each.project_id] += max(0, each.reserved - each.used())
        own = unused[project_id]
        return own + min(unused.total() - own, free // 2)

    def _must_yield(self, project_id: str) -> bool:
        """Whether this project has something starting, and another project with nothing starting
        waits."""
        others = (each for each in +self._waiting if each != project_id)
        return self._starting[project_id] > 0 and any(not self._starting[each] for each in others)


def _too_little(asked: int, free: int) -> str:
    return f"not enough {_asked(asked, free)}"


def _asked(memory: int, free: int) -> str:
    return f"memory: asked {human_size(memory)}, {human_size(free)} free"


def _free_in(version: int, folder: Path) -> int | None:
    """The free bytes in a cgroup with a memory limit; None if it has no limit."""
    limit = memory_limit(version, folder)
    return None if limit is None else limit - memory_used(version, folder)
