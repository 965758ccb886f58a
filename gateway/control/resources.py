"""The machine: what it has for models, and which deployments may start on it.

What counts is the memory that is really free, not the sum of what deployments may take: that is a
limit, and most models stay far below theirs. A deployment may start when one replica of the size
that was asked for fits into what is free, less what those that are starting may still take. While
others start it waits for them, since what they really take is known when they are ready. If it does
not fit even then it fails, with the numbers. What served already, before a restart, is not asked.

Between projects: what starts of other projects counts up to half of what is free, however much they
asked for and however long they take to start. And while a project with nothing starting waits, none
that has something starting begins with more.

A script (an experiment) has no moment at which it is ready. So what it asked for and has not taken
yet counts as long as it runs, but only for other scripts, since those can wait. A deployment
cannot, and starts beside it by what is really free.

CPU may be promised more than once: when all compute each gets its part. But no replica can have
more than there is.
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
# Memory may be freed by others than those who start.
_LOOK_AGAIN = 1.0


class ResourceRequest(Protocol):
    """What a deployment asks for each of its replicas."""

    @property
    def cpu_millicores(self) -> int: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def replicas(self) -> int: ...


class NotEnoughMemory(Exception):
    """A deployment does not fit beside what runs now."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What there is. Memory in bytes: all of the machine's, or the container's; what models may
    take of it together, and how much of that is free; what those that start may still take.

    `holds` says what the kernel sees to, by which `cgroups`.
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
    """The memory that a script has reserved, of which some is used once the script runs."""

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
        # For the gateway, builds' page cache, the system: a twentieth of the machine, but enough.
        self._reserve = min(max(self.memory // 20, 128 * MIB), 2 * GIB)
        self.for_models = self.memory - self._reserve
        self._cgroups = Cgroups()
        # Of each project that starts something, the bytes that it may still take; how many wait.
        self._starting: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = trio.Event()
        self._scripts: list[ScriptMemory] = []

    def attach_cgroups(self, cgroups: Cgroups) -> None:
        """From now on models are in these."""
        self._cgroups = cgroups

    @property
    def default_memory_mb(self) -> int:
        """What a replica may take unless somebody says: CDSW's 2 GB, on a small machine a quarter
        of it, so that there is room for more than one."""
        return max(64, min(2048, self.for_models // 4 // MIB // 64 * 64))

    def free(self) -> int:
        """The bytes that models could take now, beside those that run. Blocking, for moments."""
        available = [psutil.virtual_memory().available]
        available += [room for group in self._groups if (room := _room(*group)) is not None]
        context = [
            room
            for each in self._cgroups.hierarchies
            if "memory" in each.controllers
            if (room := _room(each.version, each.folder)) is not None
        ]
        return max(0, min([min(available) - self._reserve, self.for_models, *context]))

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
        """Raises Refusal where one replica could never run here; with `now`, also where it would
        have to wait for others to stop."""
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
        """For the time in which the replicas of a project's deployment start. Waits for others that
        start, and calls `tell` at each check with what is missing. Raises NotEnoughMemory.
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
            # Without those that have nothing.
            self._starting, self._waiting = +self._starting, +self._waiting
            self._changed.set()
            self._changed = trio.Event()

    @asynccontextmanager
    async def reserve_for_script(
        self, asked: ResourceRequest, project_id: str, tell: Callable[[str], object]
    ) -> AsyncIterator[ScriptMemory]:
        """The same for a script, for as long as it runs: when it will take what memory it asked
        for is not known. Only other scripts wait for what it has not taken yet."""
        memory = asked.memory_mb * MIB
        await self._wait_for(memory, project_id, tell, scripts=True)
        script = ScriptMemory(project_id, memory)
        self._scripts.append(script)
        try:
            yield script
        finally:
            self._scripts.remove(script)

    async def _wait_for(
        self, memory: int, project_id: str, tell: Callable[[str], object], scripts: bool = False
    ) -> None:
        while True:
            free = self.free()
            held = self._held(project_id, free) if scripts else 0
            taken = self._taken(project_id, free) + held
            if memory <= free - taken and not self._goes_before(project_id):
                return
            if not self._starting:
                more = (
                    f", of which experiments that run may take {human_size(held)}" if held else ""
                )
                raise NotEnoughMemory(_too_little(memory, free) + more)
            tell(f"{_asked(memory, free)}, of which models that start may take {human_size(taken)}")
            with trio.move_on_after(_LOOK_AGAIN):
                await self._changed.wait()

    def _taken(self, project_id: str, free: int) -> int:
        """What those that start may still take, as far as it counts for a project."""
        own = self._starting[project_id]
        return own + min(self._starting.total() - own, free // 2)

    def _held(self, project_id: str, free: int) -> int:
        """What scripts that run may still take, as far as it counts for a script of a project."""
        held: Counter[str] = Counter()
        for each in self._scripts:
            held[each.project_id] += max(0, each.reserved - each.used())
        own = held[project_id]
        return own + min(held.total() - own, free // 2)

    def _goes_before(self, project_id: str) -> bool:
        """Whether another project waits that has nothing starting, as this one has."""
        others = (each for each in +self._waiting if each != project_id)
        return self._starting[project_id] > 0 and any(not self._starting[each] for each in others)


def _too_little(asked: int, free: int) -> str:
    return f"not enough {_asked(asked, free)}"


def _asked(memory: int, free: int) -> str:
    return f"memory: asked {human_size(memory)}, {human_size(free)} free"


def _room(version: int, folder: Path) -> int | None:
    """What a group with a limit could still take; None where it has none."""
    limit = memory_limit(version, folder)
    return None if limit is None else limit - memory_used(version, folder)
