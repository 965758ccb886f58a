"""The limit monitor: one thread that checks what the kernel does not limit.

That is what a tree writes into its folders, and, where cgroups are missing, its memory and its
number of processes. A check once a second is weaker than a limit of the kernel: a fast process
overshoots. Checking folders takes at most a hundredth of the time, for any number of files. Half of
that is shared equally, so that a tree with a million files does not delay the checks of the others;
the other half by need.

It also records how long a busy tree was throttled by its CPU limit, so that a time-out can be told
from a slow model at no cost to a request.
"""

import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from workers.cgroups import Leaf
from workers.limits import (
    Cause,
    ExitReason,
    Limits,
    reached_processes,
    throttling_note,
)
from workers.orphan_processes import reap_orphans
from workers.process.usage import ProcessInfo, Usage, all_processes, trees
from workers.sizes import human_size
from workers.untrusted_tree import measure

logger = logging.getLogger(__name__)

# A hundredth, in two halves: the pause is this multiple of the duration of a check.
_PAUSE_FACTOR = 198


class MonitoredTree:
    """A process with all that it ever starts. `base` is the initial size of its folders, in bytes;
    `gpus` are the UUIDs of what it holds.

    `busy` says whether its throttling counts; `exceeds` is called with each excess. Both are called
    in the monitor's thread.
    """

    def __init__(
        self,
        pid: int,
        *,
        leaf: Leaf,
        limits: Limits,
        folders: Sequence[Path],
        base: int,
        gpus: Sequence[str] = (),
        busy: Callable[[], bool],
        exceeds: Callable[[ExitReason], object],
    ) -> None:
        self.pid = pid
        self.limits = limits
        self.folders = folders
        self.gpus = gpus
        self.busy = busy
        self._leaf = leaf
        self._most = base + limits.disk
        self._exceeds = exceeds
        self._forks_refused = 0
        # How long the last check of its folders took, in seconds, and when the next one is due.
        self.check_took = self.next_check = 0.0
        # A time, and the seconds throttled until then; only where the latter have increased.
        self._throttled: deque[tuple[float, float]] = deque([(0.0, 0.0)], maxlen=600)

    def memory(self) -> int:
        """The bytes that its cgroup counts; 0 where none does."""
        return self._leaf.memory() or 0

    def read_throttling(self) -> None:
        throttled = self._leaf.counters().throttled
        if throttled > self._throttled[-1][1]:
            self._throttled.append((time.monotonic(), throttled))

    def throttling_note(self, seconds: float) -> str:
        """Why what began `seconds` ago took so long, if its CPU limit is the cause."""
        since = time.monotonic() - seconds
        before = max((until for at, until in self._throttled if at <= since), default=0.0)
        return throttling_note(seconds, self._leaf.counters().throttled - before, self.limits)

    def fork_refusal_note(self) -> str:
        """Why something has just failed in it, if forks were refused since the last call."""
        before, self._forks_refused = self._forks_refused, self._leaf.counters().forks_refused
        return reached_processes(self.limits) if self._forks_refused > before else ""

    def usage(self, there: Mapping[int, ProcessInfo]) -> Usage:
        """What it uses with all that it started. Memory is what its cgroup counts; without one the
        sum of what is resident, with shared memory counted repeatedly."""
        inside = [there[pid] for pid in self._leaf.processes() if pid in there]
        tree = inside or trees([self.pid], there)[self.pid]
        memory = self._leaf.memory()
        if memory is None:
            memory = sum(each.resident for each in tree)
        return Usage(memory=memory, cpu=sum(each.cpu + each.children_cpu for each in tree))

    def check_folders(self) -> None:
        if not self.limits.disk:
            return
        with suppress(FileNotFoundError):  # the first has just been removed
            device = self.folders[0].stat().st_dev
            taken = unlinked(self._leaf.processes(), device)
            for folder in self.folders:
                taken += measure(folder, enough=self._most - taken)
            if taken > self._most:
                more = human_size(self.limits.disk)
                self._excess(
                    f"was ended because it had written more than {more} to disk", Cause.DISK
                )

    def check_tree(self, tree: list[ProcessInfo], enforced: tuple[str, ...]) -> None:
        """Checks what the kernel does not limit."""
        memory, processes = self.limits.memory, self.limits.processes
        if "memory" not in enforced and 0 < memory < sum(each.resident for each in tree):
            # This counts shared memory more than once; an exact count takes longer.
            if sum(_own_part(each.pid) for each in tree) > memory:
                self._excess(f"ran out of memory: its limit is {human_size(memory)}", Cause.MEMORY)
        elif "pids" not in enforced and 0 < processes < sum(each.threads for each in tree):
            self._excess(f"was ended because {reached_processes(self.limits)}", Cause.PROCESSES)

    def _excess(self, said: str, cause: Cause) -> None:
        self._exceeds(ExitReason(said, cause))


class LimitMonitor:
    """The thread. `enforced` names what the kernel limits (`Cgroups.enforced`); `interval` is the
    time between two checks, in seconds."""

    def __init__(self, enforced: tuple[str, ...], interval: float = 1.0) -> None:
        self._enforced = enforced
        self._interval = interval
        self._trees: set[MonitoredTree] = set()
        self._end = threading.Event()
        self._logged_error = ""
        self._thread = threading.Thread(target=self._run, name="predictd-limits", daemon=True)
        self._thread.start()

    def begin(self, monitored: MonitoredTree) -> None:
        self._trees.add(monitored)

    def end(self, monitored: MonitoredTree) -> None:
        """`exceeds` may be called once more, if a check is running."""
        self._trees.discard(monitored)

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        checks = (reap_orphans, self._read_throttling, self._check_trees, self._check_folders)
        while not self._end.wait(self._interval):
            for check in checks:
                self._try(check)

    def _try(self, check: Callable[[], None]) -> None:
        """No error ends the thread: the next interval checks again."""
        try:
            check()
        except Exception as error:
            if str(error) != self._logged_error:
                logger.warning(
                    "limit_check.failed check=%s: %s", check.__name__, error, exc_info=True
                )
            self._logged_error = str(error)

    def _read_throttling(self) -> None:
        for each in self._trees.copy():
            if each.busy():
                each.read_throttling()

    def _check_folders(self) -> None:
        monitored = self._trees.copy()
        for each in monitored:
            began = time.monotonic()
            if began < each.next_check:
                continue
            each.check_folders()
            if self._end.is_set():
                return
            each.check_took = (now := time.monotonic()) - began
            of_all = sum(other.check_took for other in monitored)
            each.next_check = now + rest_after(each.check_took, of_all, len(monitored))

    def _check_trees(self) -> None:
        if not self._trees or {"memory", "pids"} <= set(self._enforced):
            return
        looked_at = self._trees.copy()
        found = trees([each.pid for each in looked_at], all_processes())
        for monitored in looked_at:
            monitored.check_tree(found[monitored.pid], self._enforced)


def rest_after(took: float, of_all: float, count: int) -> float:
    """The pause of a tree after a check that took `took` seconds, where one check of each of the
    `count` trees takes `of_all` seconds in total."""
    return _PAUSE_FACTOR * min(of_all, count * took)


def _own_part(pid: int) -> int:
    """The memory of a process, with its part only of what it shares, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def unlinked(pids: Iterable[int], device: int) -> int:
    """The bytes on `device` of unlinked files that these processes have open."""
    found = {}
    for pid in pids:
        with suppress(OSError):  # it has ended, or may not be read
            for name in os.listdir(folder := f"/proc/{pid}/fd"):
                with suppress(OSError):
                    each = os.stat(f"{folder}/{name}")
                    if stat.S_ISREG(each.st_mode) and not each.st_nlink and each.st_dev == device:
                        found[each.st_ino] = 512 * each.st_blocks
    return sum(found.values())
