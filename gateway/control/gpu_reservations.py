"""How many GPUs each deployment, experiment and session may hold, and which of them may start.

GPUs are reserved by number, for as long as something is wanted: a replica that is restarted finds
the GPUs of its predecessor. Which GPUs a replica holds is decided when its process starts
(`workers/gpus`).

What waits is served in this order: the project that has the fewest reserved, then who came first.
Nothing passes the first that waits, so that a request for many GPUs gets them some day. A
deployment that replaces another one counts the GPUs of that as its own, so it passes all others
where it needs no more.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import trio

from gateway.control.runtime_settings import RuntimeSettings
from gateway.errors import Refusal
from workers.gpus import Gpus

# Seconds between two looks of what waits: GPUs may be freed by what an earlier gateway left, or by
# others. And between two looks otherwise: a driver may be loaded after the gateway has started.
_CHECK_PAUSE = 1.0
_WATCH_PAUSE = 30.0


class GpuReservation:
    """The number of GPUs that something of a project may hold."""

    def __init__(self, project_id: str, count: int) -> None:
        self.project_id = project_id
        self.count = count


class GpuTotals(NamedTuple):
    """The GPUs of the machine: all, those that can be assigned, and those of them that nothing has
    reserved. `problem` says why there are none."""

    total: int
    usable: int
    free: int
    driver: str
    problem: str


class GpuReservations:
    """The reservations of all projects."""

    def __init__(self, gpus: Gpus, settings: RuntimeSettings) -> None:
        self.gpus = gpus
        self._settings = settings
        self._reserved: list[GpuReservation] = []
        self._waiting: list[GpuReservation] = []
        self._changed = trio.Event()

    async def watch(self) -> None:
        """Looks at the machine again and again."""
        while True:
            await trio.sleep(_WATCH_PAUSE)
            await self.gpus.look()

    def totals(self) -> GpuTotals:
        """As of the last look at the machine."""
        survey = self.gpus.survey
        usable = len(self.gpus.usable)
        free = max(0, min(self._free(), usable))
        return GpuTotals(len(survey.gpus), usable, free, survey.driver, survey.problem)

    def check(self, count: int, replicas: int = 1) -> None:
        """Raises Refusal for what could never run here."""
        if not count:
            return
        asked = f"{count} for each of {replicas} replicas" if replicas > 1 else str(count)
        totals, most = self.totals(), self._settings.current.project_gpus
        if count * replicas > totals.usable:
            has = f"the machine has {totals.usable}"
            if totals.total > totals.usable:
                has += f" that can be assigned, of {totals.total}"
            why = f" ({totals.problem})" if totals.problem else ""
            text = f"nvidia_gpus: not enough GPUs: asked {asked}, {has}{why}"
            raise Refusal("resources.exceeded", text)
        if most and count * replicas > most:
            text = f"nvidia_gpus: asked {asked}, one project may have {most} (`project_gpus`)"
            raise Refusal("resources.exceeded", text)

    def keep(self, project_id: str, count: int) -> GpuReservation:
        """Reserves without a check, for what served before a restart."""
        reservation = GpuReservation(project_id, count)
        self._reserved.append(reservation)
        return reservation

    async def reserve(
        self,
        project_id: str,
        count: int,
        tell: Callable[[str], object],
        *,
        before: GpuReservation | None = None,
        is_overtaken: Callable[[], Awaitable[bool]] | None = None,
    ) -> tuple[GpuReservation, int] | None:
        """Waits for this many GPUs, and calls `tell` at each look with what is missing. What is not
        free is taken from `before`, the reservation of what this replaces. Returns the reservation
        and how many were taken, or None if this was overtaken."""
        asked = GpuReservation(project_id, count)
        self._waiting.append(asked)
        try:
            while is_overtaken is None or not await is_overtaken():
                await self.gpus.look()
                taken = self._missing(asked, before)
                if taken is not None:
                    if before is not None:
                        before.count -= taken
                    self._reserved.append(asked)
                    return asked, taken
                tell(self._shortage(asked))
                with trio.move_on_after(_CHECK_PAUSE):
                    await self._changed.wait()
            return None
        finally:
            self._waiting.remove(asked)
            self._notify()

    async def reserve_now(self, project_id: str, count: int) -> GpuReservation:
        """Reserves without waiting. Raises Refusal("resources.busy")."""
        await self.gpus.look()
        asked = GpuReservation(project_id, count)
        self._waiting.append(asked)
        try:
            if self._missing(asked, None) is None:
                raise Refusal("resources.busy", f"not enough {self._shortage(asked)}")
            self._reserved.append(asked)
        finally:
            self._waiting.remove(asked)
        return asked

    @contextmanager
    def held(self, reservation: GpuReservation | None) -> Iterator[None]:
        """Releases it after the block."""
        try:
            yield
        finally:
            if reservation is not None:
                self.release(reservation)

    def give_back(self, count: int, taker: GpuReservation, before: GpuReservation) -> None:
        """What was taken from `before` belongs to it again, if it still exists."""
        taker.count -= count
        if before in self._reserved:
            before.count += count

    def release(self, reservation: GpuReservation) -> None:
        """Nothing of it runs any more."""
        if reservation in self._reserved:
            self._reserved.remove(reservation)
            self._notify()

    def _missing(self, asked: GpuReservation, before: GpuReservation | None) -> int | None:
        """How many of `before` it needs to take: 0 if enough are free, None if it has to wait."""
        free = self._free() if self._is_next(asked) else 0
        if most := self._settings.current.project_gpus:
            free = min(free, most - self._of_project(asked.project_id))
        taken = max(0, asked.count - max(0, free))
        # What this replaces may have ended meanwhile.
        own = before.count if before is not None and before in self._reserved else 0
        return taken if taken <= own else None

    def _free(self) -> int:
        return self.gpus.available - sum(each.count for each in self._reserved)

    def _of_project(self, project_id: str) -> int:
        return sum(each.count for each in self._reserved if each.project_id == project_id)

    def _over_limit(self, asked: GpuReservation) -> bool:
        most = self._settings.current.project_gpus
        return most > 0 and self._of_project(asked.project_id) + asked.count > most

    def _is_next(self, asked: GpuReservation) -> bool:
        """Whether nothing that waits comes before it."""
        others = (each for each in self._waiting if each is asked or not self._over_limit(each))
        return min(others, key=lambda each: self._of_project(each.project_id)) is asked

    def _shortage(self, asked: GpuReservation) -> str:
        if self._over_limit(asked):
            most, has = self._settings.current.project_gpus, self._of_project(asked.project_id)
            return f"GPUs: asked {asked.count}, the project has {has} of its {most}"
        totals = self.totals()
        text = f"GPUs: asked {asked.count}, {totals.free} of {totals.usable} free"
        if totals.free >= asked.count and not self._is_next(asked):
            text += ", and others waited before"
        return text

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
