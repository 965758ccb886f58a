"""Samples what processes cost during a measurement: CPU seconds and peak memory, by role.

A thread of the harness samples them. Memory is PSS, which counts a page that n processes share as
1/n of a page for each, so sums are correct. If the kernel does not report PSS, it is RSS, and the
row says so. RSS, which most tools show, is kept too.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil


class Cost(msgspec.Struct):
    """All processes of one role together; memory is the sum, in millions of bytes."""

    processes: int = 0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    last_mb: float = 0.0
    rss_mb: float = 0.0
    memory: str = "PSS"

    def plus(self, other: "Cost") -> "Cost":
        """The cost of both periods: the sum of the CPU times, the larger memory."""
        return Cost(
            processes=max(self.processes, other.processes),
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            peak_mb=max(self.peak_mb, other.peak_mb),
            last_mb=other.last_mb,
            rss_mb=max(self.rss_mb, other.rss_mb),
            memory=other.memory,
        )


class Sampler:
    """Samples the process trees of the given roots."""

    def __init__(self, roots: Mapping[str, Sequence[int]]) -> None:
        self._roots = roots
        self._seen: dict[str, dict[psutil.Process, tuple[float, float]]] = {r: {} for r in roots}
        self.costs = {role: Cost() for role in roots}

    def look(self) -> None:
        for role, roots in self._roots.items():
            megabytes = resident = 0.0
            alive = 0
            for process in _tree(role, roots):
                try:
                    times = process.cpu_times()
                    resident += process.memory_info().rss / 1e6
                    bytes_, kind = memory_of(process)
                except psutil.Error:
                    continue  # the process has ended meanwhile
                cpu = times.user + times.system
                first, _ = self._seen[role].setdefault(process, (cpu, cpu))
                self._seen[role][process] = (first, cpu)
                self.costs[role].memory = kind
                megabytes += bytes_ / 1e6
                alive += 1
            cost = self.costs[role]
            cost.processes = max(cost.processes, alive)
            cost.last_mb = round(megabytes, 1)
            cost.rss_mb = max(cost.rss_mb, round(resident, 1))
            cost.peak_mb = max(cost.peak_mb, cost.last_mb)
            spent = sum(last - first for first, last in self._seen[role].values())
            cost.cpu_seconds = round(spent, 3)


def _tree(role: str, roots: Sequence[int]) -> list[psutil.Process]:
    """A gateway is one role and its children are another; other trees are one role."""
    found: dict[int, psutil.Process] = {}
    for pid in roots:
        try:
            root = psutil.Process(pid)
            below = root.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
        found |= {root.pid: root} if role != "replicas" else {}
        found |= {child.pid: child for child in below} if role != "gateway" else {}
    return list(found.values())


def memory_of(process: psutil.Process) -> tuple[int, str]:
    """The memory in bytes, and whether it is PSS or RSS. Raises psutil.Error."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024, "PSS"
    except OSError:
        pass
    return process.memory_info().rss, "RSS"


@contextmanager
def watching(
    roots: Mapping[str, Sequence[int]], every: float | None = 0.5
) -> Iterator[dict[str, Cost]]:
    """The costs of these processes until the end of the block, by role.

    Samples at the beginning and the end, and at this interval in seconds; None: not in between.
    """
    sampler, over = Sampler(roots), threading.Event()
    sampler.look()

    def watch() -> None:
        while not over.wait(every):
            sampler.look()

    thread = threading.Thread(target=watch, name="sampler", daemon=True)
    thread.start()
    try:
        yield sampler.costs
    finally:
        over.set()
        thread.join()
        sampler.look()
