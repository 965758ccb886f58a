"""The GPUs of this gateway: whole devices, each held by at most one process tree.

A tree waits until enough GPUs are free, all of them at once and in the order of asking. It gives
them back when no process of it lives. A GPU is free if it has no problem, no tree holds it, and its
driver sees no process that computes on it, of ours or of others.

What asks the driver runs in one thread of its own. A driver that hangs occupies this thread alone;
until it answers, no GPU is assigned.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import msgspec
import trio

from workers.gpus.driver import Gpu, GpuDriver, GpuUse, Survey
from workers.gpus.ledger import Holder, Ledger

logger = logging.getLogger(__name__)

Args = TypeVarTuple("Args")
T = TypeVar("T")

# Seconds between two looks of those who wait, and how long a driver may take to answer (gotcha G4).
_CHECK_PAUSE = 0.5
PATIENCE = 10.0
# Read and written by all users.
_FOR_ALL = 0o006


class GpuState(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU, and what holds it: the name of a tree, "" if none does."""

    gpu: Gpu
    holder: str = ""


class Gpus:
    """`record` is the file of the ledger; `marked` finds the living processes of trees, by the
    beginning of their mark. With `for_all`, device nodes must be open to all users, since models
    have users of their own."""

    def __init__(
        self,
        driver: GpuDriver,
        record: Path,
        marked: Callable[[str], list[int]],
        *,
        for_all: bool = False,
    ) -> None:
        self.survey = Survey()
        # How much those that are held are used, as of the last measurement.
        self.uses: Mapping[str, GpuUse] = {}
        self._driver = driver
        self._ledger = Ledger(record, marked)
        self._lock = threading.Lock()
        self._for_all = for_all
        # Processes of others that compute on GPUs that no tree holds.
        self._others: dict[str, int] = {}
        self._unknown = False
        self._hangs = False
        self.thread = trio.CapacityLimiter(1)
        self._waiting: list[str] = []
        self._changed = trio.Event()

    def recover(self, prefix: str) -> None:
        """Finds what processes of an earlier gateway, with marks that begin with `prefix`, still
        hold. Call it once, when these were killed. Blocking."""
        with self._lock:
            self._ledger.recover(prefix)

    async def close(self) -> None:
        """Gives the driver up."""
        if not self._hangs:
            await self._in_thread(self._driver.close)

    @property
    def usable(self) -> list[Gpu]:
        """Those without a problem."""
        return [each for each in self.survey.gpus if not each.problem]

    @property
    def available(self) -> int:
        """How many of the usable neither others hold nor what is left of an ended tree."""
        if self._unknown:
            return 0
        return sum(
            each.uuid not in self._others and not self._ledger.is_ended(each.uuid)
            for each in self.usable
        )

    def states(self) -> list[GpuState]:
        """All GPUs, also those that cannot be assigned."""
        holders = self._ledger.holders
        found = []
        for gpu in self.survey.gpus:
            holder = holders[gpu.uuid].name if gpu.uuid in holders else ""
            if not holder and gpu.uuid in self._others:
                holder = f"process {self._others[gpu.uuid]}, which is not predictd's"
            found.append(GpuState(gpu=gpu, holder=holder))
        return found

    def variables(self, held: Iterable[Gpu]) -> dict[str, str]:
        """The variables by which a program finds its GPUs, and no other."""
        if not self.survey.gpus:
            return {}
        return {"CUDA_VISIBLE_DEVICES": ",".join(each.uuid for each in held)}

    def nodes(self, held: Iterable[Gpu]) -> tuple[Path, ...]:
        """The device nodes that a program with these GPUs needs."""
        own = [each.node for each in held]
        return tuple(map(Path, (*own, *self.survey.nodes))) if own else ()

    async def acquire(self, count: int, mark: str, name: str) -> tuple[Gpu, ...]:
        """Waits for this many GPUs, and assigns them to the tree of this mark. Call `release` when
        the tree has ended, also if this is cancelled."""
        self._waiting.append(mark)
        try:
            while True:
                if self._waiting[0] == mark:
                    with trio.CancelScope(shield=True):  # what is taken must be known
                        taken = await self._in_thread(self._take, count, Holder(mark, name))
                    if taken:
                        return taken
                with trio.move_on_after(_CHECK_PAUSE):
                    await self._changed.wait()
        finally:
            self._waiting.remove(mark)
            self.notify()

    def release(self, mark: str) -> None:
        """Takes the GPUs of a tree back if no process of it lives; else a later look does.
        Blocking. Call `notify` afterwards."""
        with self._lock:
            self._ledger.end(mark)
            self._ledger.forget_dead()

    def notify(self) -> None:
        """Something may have become free: those who wait look again."""
        self._changed.set()
        self._changed = trio.Event()

    async def look(self) -> None:
        """Looks again at what the machine has and what is free."""
        await self._in_thread(self._look)

    async def measure(self, uuids: Iterable[str]) -> Mapping[str, GpuUse]:
        """How much of these is used now; remembered as `uses`. Without GPUs no thread is asked."""
        wanted = list(uuids)
        self.uses = (await self._in_thread(self._driver.measure, wanted) or {}) if wanted else {}
        return self.uses

    async def _in_thread(self, work: Callable[[*Args], T], *args: *Args) -> T | None:
        """None where the driver does not answer in time. What it then still does is done later."""
        with trio.move_on_after(PATIENCE):
            found = await trio.to_thread.run_sync(
                work, *args, limiter=self.thread, abandon_on_cancel=True
            )
            self._hangs = False
            return found
        if not self._hangs:
            logger.warning("gpu_driver.hangs seconds=%g", PATIENCE)
        self._hangs = True
        return None

    def _take(self, count: int, holder: Holder) -> tuple[Gpu, ...]:
        """Assigns this many; none if fewer are free, or if `holder` waits no longer. What `holder`
        has already, by a question that the driver answered late, is not assigned again."""
        self._look()
        with self._lock:
            held = self._ledger.holders
            own = tuple(each for each in self.survey.gpus if held.get(each.uuid) == holder)
            if own:
                return own
            free = [each for each in self.usable if each.uuid not in {*held, *self._others}]
            if self._unknown or len(free) < count or holder.mark not in self._waiting:
                return ()
            chosen = tuple(free[:count])
            self._ledger.assign((each.uuid for each in chosen), holder)
            return chosen

    def _look(self) -> None:
        survey = self._driver.survey()
        survey = msgspec.structs.replace(survey, gpus=tuple(map(self._checked, survey.gpus)))
        with self._lock:
            self._ledger.forget_dead()
            self._unknown = self._ledger.is_unknown()
            held = set(self._ledger.holders)
        others = {}
        for each in survey.gpus:
            # Not instead of the ledger: see gotcha G1.
            is_free = not each.problem and each.uuid not in held
            if is_free and (found := self._driver.processes(each.uuid)):
                others[each.uuid] = found[0]
        self.survey, self._others = survey, others

    def _checked(self, gpu: Gpu) -> Gpu:
        """With the problem that models could not open it."""
        if gpu.problem:
            return gpu
        try:
            mode = os.stat(gpu.node).st_mode
        except OSError as error:
            return msgspec.structs.replace(gpu, problem=f"{gpu.node}: {error.strerror}")
        if self._for_all and mode & _FOR_ALL != _FOR_ALL:
            text = f"not all users may open {gpu.node} (its mode is {mode & 0o777:04o})"
            return msgspec.structs.replace(gpu, problem=text)
        return gpu
