"""Compares several servers: the same requests by the same callers, in turns.

The order is A B C A B C, not A A B B, so a machine that slows down for a minute slows all servers.
Only the server whose turn it is runs, since some are busy even without requests. A server that
fails to start or to answer is reported with its error, and tried again in the next round.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import median

import msgspec

from benchmarks.gateway_process import SetupFailed
from benchmarks.load import closed
from benchmarks.load.closed import Capacity
from benchmarks.load.python import LoadFailed
from benchmarks.load.spec import Target
from benchmarks.peers.catalogue import PeerFailed
from benchmarks.plan import Plan
from benchmarks.report.record import Row, spread
from benchmarks.sampler import Cost, watching

WARM_UP = 1.0
_LETTERS = 600


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """A running server, and its processes by role."""

    target: Target
    roles: Mapping[str, Sequence[int]]
    seconds_to_answer: float


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server to start. `isolation` says whether the function has its own process."""

    name: str
    isolation: str
    start: Callable[[], AbstractContextManager[RunningServer]]


class Result(msgspec.Struct, kw_only=True):
    """The measurements of one server, by number of callers, and its failures."""

    name: str
    isolation: str
    rounds: dict[int, list[Capacity]] = {}
    costs: dict[str, Cost] = {}
    starts: list[float] = []
    failures: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether every round failed."""
        return not self.rounds

    def median_of(self, callers: int, what: str) -> float | None:
        """Return the median over the rounds, or None where the server failed."""
        if not self.rounds.get(callers):
            return None
        return median(float(getattr(capacity, what)) for capacity in self.rounds[callers])

    def row(self, callers: int) -> Row:
        if not self.rounds.get(callers):
            return {"server": self.name, "isolation": self.isolation, "spread": "failed"}
        figures = {
            name: self.median_of(callers, name)
            for name in ("requests_per_second", "p50_us", "p90_us", "p99_us", "p999_us", "max_us")
        }
        apart = spread([c.requests_per_second for c in self.rounds[callers]])
        return {"server": self.name, "isolation": self.isolation, **figures, "spread": apart}

    def cost_rows(self) -> list[Row]:
        """Return the resources that its processes used, and those of the load generator."""
        if self.failed or not self.costs:
            return []
        measured = [capacity for rounds in self.rounds.values() for capacity in rounds]
        requests = sum(capacity.requests for capacity in measured)
        rows: list[Row] = [
            {
                "server": self.name,
                "role": role,
                "processes": cost.processes,
                "peak_mb": cost.peak_mb,
                "memory": cost.memory,
                "cpu per request_us": 1e6 * cost.cpu_seconds / requests,
            }
            for role, cost in self.costs.items()
            if cost.processes
        ]
        for row in rows[:1]:
            row["start to first answer_s"] = self.start_s
        spent = 1e6 * sum(capacity.generator_cpu for capacity in measured) / requests
        return [*rows, {"server": self.name, "role": "generator", "cpu per request_us": spent}]

    def failure_rows(self) -> list[Row]:
        return [{"server": self.name, "failure": failure} for failure in self.failures]

    @property
    def start_s(self) -> float | None:
        """Seconds from its command to the first right answer."""
        return median(self.starts) if self.starts else None

    @property
    def peak_mb(self) -> float | None:
        """The memory of all its processes together."""
        return sum(c.peak_mb for c in self.costs.values()) if self.costs else None


def run_rounds(
    servers: Sequence[Server],
    callers: Sequence[int],
    plan: Plan,
    aside: Callable[[], None] = lambda: None,
) -> dict[str, Result]:
    """Returns the results by name, in the order of the servers; `aside` runs in each round."""
    results = [Result(name=each.name, isolation=each.isolation) for each in servers]
    for number in range(plan.rounds):
        for server, result in zip(servers, results, strict=True):
            plan.say(f"round {number + 1} of {plan.rounds}: {server.name}")
            try:
                _take_turn(server, result, callers, plan.seconds)
            except (PeerFailed, LoadFailed, SetupFailed) as error:
                said = " ".join(str(error).split())[:_LETTERS]
                result.failures.append(f"round {number + 1}: {said}")
        aside()
    return {result.name: result for result in results}


def _take_turn(server: Server, result: Result, callers: Sequence[int], seconds: float) -> None:
    with server.start() as running:
        result.starts.append(running.seconds_to_answer)
        closed.measure(running.target, 4, WARM_UP)
        # Sampled before and after only: reading a process's memory pauses it.
        with watching(running.roles, every=None) as costs:
            for count in callers:
                found = closed.measure(running.target, count, seconds)
                result.rounds.setdefault(count, []).append(found)
        for role, cost in costs.items():
            result.costs[role] = result.costs.get(role, Cost()).plus(cost)
