"""A contest: several servers, asked the same by the same callers, in turns.

A B C A B C, not A A B B: a machine that slows down for a minute then slows all of them. Only the
server whose turn it is runs: some are busy even when nobody asks them anything. Who fails to
start or to answer is told of with the error and is never left out; it may try again next round.
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


class Entrant(msgspec.Struct, frozen=True, kw_only=True):
    """A server that runs, and its processes by role."""

    target: Target
    roles: Mapping[str, Sequence[int]]
    seconds_to_answer: float


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """Who can be started. `isolation` says whether the function has a process of its own."""

    name: str
    isolation: str
    start: Callable[[], AbstractContextManager[Entrant]]


class Result(msgspec.Struct, kw_only=True):
    """What one contender did, by number of callers, and what went wrong."""

    name: str
    isolation: str
    rounds: dict[int, list[Capacity]] = {}
    costs: dict[str, Cost] = {}
    starts: list[float] = []
    failures: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether there is nothing but failures."""
        return not self.rounds

    def median_of(self, callers: int, what: str) -> float | None:
        """Of the rounds; None where it failed."""
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
        """What its processes took of the machine, and the generator beside them."""
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
        """From its command to the first right answer."""
        return median(self.starts) if self.starts else None

    @property
    def peak_mb(self) -> float | None:
        """The memory of all its processes together."""
        return sum(c.peak_mb for c in self.costs.values()) if self.costs else None


def hold(
    contenders: Sequence[Contender],
    callers: Sequence[int],
    plan: Plan,
    aside: Callable[[], None] = lambda: None,
) -> dict[str, Result]:
    """The results by name, in the order of the contenders; `aside` has a turn in every round."""
    results = [Result(name=each.name, isolation=each.isolation) for each in contenders]
    for number in range(plan.rounds):
        for contender, result in zip(contenders, results, strict=True):
            plan.say(f"round {number + 1} of {plan.rounds}: {contender.name}")
            try:
                _take_turn(contender, result, callers, plan.seconds)
            except (PeerFailed, LoadFailed, SetupFailed) as error:
                said = " ".join(str(error).split())[:_LETTERS]
                result.failures.append(f"round {number + 1}: {said}")
        aside()
    return {result.name: result for result in results}


def _take_turn(
    contender: Contender, result: Result, callers: Sequence[int], seconds: float
) -> None:
    with contender.start() as entrant:
        result.starts.append(entrant.seconds_to_answer)
        closed.measure(entrant.target, 4, WARM_UP)
        # Looked at before and after only: reading a process's memory holds it up.
        with watching(entrant.roles, every=None) as costs:
            for count in callers:
                found = closed.measure(entrant.target, count, seconds)
                result.rounds.setdefault(count, []).append(found)
        for role, cost in costs.items():
            result.costs[role] = result.costs.get(role, Cost()).plus(cost)
