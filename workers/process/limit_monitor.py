"""The watch: one thread that looks at what the kernel does not hold for us.

What a tree writes into its folder, and, where cgroups are missing, its memory and its number of
processes. A look once a second is weaker than a limit of the kernel: a quick hog overshoots.
Looking at folders takes at most a hundredth of the time, however much is in them. Half of that is
shared equally, so that a tree with a million files does not keep the watch from the others; the
other half by need.

It also remembers for how long a busy tree was held up by its CPU limit, so that a time-out can be
told from a slow model without a request paying for it.
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
    explain_exit,
    reached_processes,
    throttling_note,
)
from workers.orphans import reap_orphans
from workers.process.usage import ProcessInfo, Usage, all_processes, trees
from workers.sizes import human_size
from workers.untrusted_tree import measure

logger = logging.getLogger(__name__)

# A hundredth, in two halves: times what a look at the folders took, until the next one.
_REST = 198


class MonitoredTree:
    """A process with all that it ever starts. `base` is what was in its folders at first, in bytes.

    `busy` says whether its time counts, `exceeds` is told the first excess; both are called in the
    thread of the watch.
    """

    def __init__(
        self,
        pid: int,
        *,
        leaf: Leaf,
        limits: Limits,
        folders: Sequence[Path],
        base: int,
        busy: Callable[[], bool],
        exceeds: Callable[[ExitReason], object],
    ) -> None:
        self.pid = pid
        self.limits = limits
        self.folders = folders
        self.busy = busy
        self._leaf = leaf
        self._most = base + limits.disk
        self._exceeds = exceeds
        self._forks_refused = 0
        # How long the last look at its folders took, in seconds, and when the next one is due.
        self.look_took = self.next_look = 0.0
        # When, and the seconds held up until then; only where those have become more.
        self._held_up: deque[tuple[float, float]] = deque([(0.0, 0.0)], maxlen=600)

    def read_throttling(self) -> None:
        throttled = self._leaf.counters().throttled
        if throttled > self._held_up[-1][1]:
            self._held_up.append((time.monotonic(), throttled))

    def throttling_note(self, seconds: float) -> str:
        """Why what began so many seconds ago took so long, where its CPU limit is to blame."""
        since = time.monotonic() - seconds
        before = max((until for at, until in self._held_up if at <= since), default=0.0)
        return throttling_note(seconds, self._leaf.counters().throttled - before, self.limits)

    def fork_refusal_note(self) -> str:
        """Why something failed in it just now, where forks were refused since one last asked."""
        before, self._forks_refused = self._forks_refused, self._leaf.counters().forks_refused
        return reached_processes(self.limits) if self._forks_refused > before else ""

    def judge(self, status: int, said: str) -> ExitReason:
        """Why it ended, with `status`, which is `said` in words."""
        return explain_exit(status, said, self._leaf.counters(), self.limits)

    def usage(self, there: Mapping[int, ProcessInfo]) -> Usage:
        """What it takes with all that it started. Memory is what counts against its limit where a
        cgroup counts; else the sum of what is resident, with what is shared counted repeatedly."""
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
                self._excess(f"was ended since it had written more than {more} to disk", Cause.DISK)

    def check_tree(self, tree: list[ProcessInfo], holds: tuple[str, ...]) -> None:
        """For what the kernel does not hold."""
        memory, processes = self.limits.memory, self.limits.processes
        if "memory" not in holds and 0 < memory < sum(each.resident for each in tree):
            # Which counts what they share more than once; to count well takes longer.
            if sum(_own_part(each.pid) for each in tree) > memory:
                self._excess(f"ran out of memory: its limit is {human_size(memory)}", Cause.MEMORY)
        elif "pids" not in holds and 0 < processes < sum(each.threads for each in tree):
            self._excess(f"was ended since {reached_processes(self.limits)}", Cause.PROCESSES)

    def _excess(self, said: str, cause: Cause) -> None:
        self._exceeds(ExitReason(said, cause))


class LimitMonitor:
    """The thread. `holds` says what the kernel sees to, as `Cgroups.holds` does."""

    def __init__(self, holds: tuple[str, ...], interval: float = 1.0) -> None:
        self._holds = holds
        self._interval = interval
        self._watched: set[MonitoredTree] = set()
        self._end = threading.Event()
        # The last error that was logged.
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="predictd-watch", daemon=True)
        self._thread.start()

    def begin(self, monitored: MonitoredTree) -> None:
        self._watched.add(monitored)

    def end(self, monitored: MonitoredTree) -> None:
        """It may be told of an excess once more, if a look is under way."""
        self._watched.discard(monitored)

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        looks = (reap_orphans, self._read_throttling, self._check_trees, self._check_folders)
        while not self._end.wait(self._interval):
            for look in looks:
                self._try(look)

    def _try(self, look: Callable[[], None]) -> None:
        """No error ends the thread: the next turn looks again."""
        try:
            look()
        except Exception as error:
            if str(error) != self._told:
                logger.warning("%s: %s", look.__name__.strip("_"), error, exc_info=True)
            self._told = str(error)

    def _read_throttling(self) -> None:
        for each in self._watched.copy():
            if each.busy():
                each.read_throttling()

    def _check_folders(self) -> None:
        monitored = self._watched.copy()
        for each in monitored:
            began = time.monotonic()
            if began < each.next_look:
                continue
            each.check_folders()
            if self._end.is_set():
                return
            each.look_took = (now := time.monotonic()) - began
            of_all = sum(other.look_took for other in monitored)
            each.next_look = now + rest_after(each.look_took, of_all, len(monitored))

    def _check_trees(self) -> None:
        if not self._watched or {"memory", "pids"} <= set(self._holds):
            return
        looked_at = self._watched.copy()
        found = trees([each.pid for each in looked_at], all_processes())
        for monitored in looked_at:
            monitored.check_tree(found[monitored.pid], self._holds)


def rest_after(took: float, of_all: float, count: int) -> float:
    """How long a tree is not looked at after a look that took so long, where one look at each of
    `count` trees takes `of_all`."""
    return _REST * min(of_all, count * took)


def _own_part(pid: int) -> int:
    """A process's memory, of what it shares with others its part only, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def unlinked(pids: Iterable[int], device: int) -> int:
    """The bytes on `device` of files that have no name any more, and that processes hold open."""
    found = {}
    for pid in pids:
        with suppress(OSError):  # ended meanwhile, or not ours to look at
            for name in os.listdir(folder := f"/proc/{pid}/fd"):
                with suppress(OSError):
                    each = os.stat(f"{folder}/{name}")
                    if stat.S_ISREG(each.st_mode) and not each.st_nlink and each.st_dev == device:
                        found[each.st_ino] = 512 * each.st_blocks
    return sum(found.values())
