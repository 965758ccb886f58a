"""`peers`: the same function behind every other server, and the floors, in one run.

Each server is configured as its documentation advises for one copy of the function, and runs alone
while it is measured. Servers without isolation run the function in their own process, and save the
cost of the isolation that predictd provides.
"""

from collections.abc import Callable, Iterable
from statistics import median
from typing import NamedTuple

from benchmarks import comparison, servers
from benchmarks.comparison import Result
from benchmarks.peers.pipe import pipe_round_trips
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Section, Table
from benchmarks.servers import OURS
from benchmarks.suites import targets

CALLERS = (1, 16)
ROUNDS = 3
RATE = "requests_per_second"


def run(plan: Plan) -> Section:
    pipe: list[float] = []
    results = comparison.run_rounds(
        [servers.ours(), *servers.peers(plan.cache)],
        CALLERS,
        plan.with_rounds(min(ROUNDS, plan.rounds)),
        lambda: pipe.append(pipe_round_trips(plan.seconds / 2).p50),
    )
    pipe_us = median(pipe)
    tables = [
        Table(
            f"{callers} caller{'s' if callers > 1 else ''}, closed loop",
            [result.row(callers) for result in results.values()],
        )
        for callers in CALLERS
    ]
    tables.append(
        Table("What the processes took", [row for r in results.values() for row in r.cost_rows()])
    )
    if failures := [row for r in results.values() for row in r.failure_rows()]:
        tables.append(Table("Who failed, and how", failures))
    return Section(
        verb="peers",
        title="the same function behind other servers",
        says="One copy of the function. Each server ran alone, in turns; medians of the rounds. "
        f"A pipe's round trip to a Python process took {pipe_us:.1f} us.",
        tables=tables,
        pictures=[_picture(drawn, results.values()) for drawn in DRAWN],
        goals=[
            *targets.latency(results, sorted(pipe)[len(pipe) // 2]),
            *targets.against_peers(results),
        ],
    )


class Drawn(NamedTuple):
    """A chart of one figure of every server."""

    title: str
    unit: str
    figure: Callable[[Result], float | None]
    higher_is_better: bool = False


DRAWN = (
    Drawn("Throughput, 16 callers", "requests/s", lambda r: r.median_of(16, RATE), True),
    Drawn("p50, one caller", "µs", lambda r: r.median_of(1, "p50_us")),
    Drawn("p99, one caller", "µs", lambda r: r.median_of(1, "p99_us")),
    Drawn("p99, 16 callers", "µs", lambda r: r.median_of(16, "p99_us")),
    Drawn("From the command to the first right answer", "s", lambda r: r.start_s),
    Drawn("Memory of all processes", "MB", lambda r: r.peak_mb),
)


def _picture(drawn: Drawn, results: Iterable[Result]) -> Bars:
    """The best server first; servers that could not be measured last."""
    sign = -1 if drawn.higher_is_better else 1
    found = {result.name: drawn.figure(result) for result in results}
    ordered = sorted(found.items(), key=lambda item: (item[1] is None, sign * (item[1] or 0.0)))
    better = "Higher" if drawn.higher_is_better else "Lower"
    return Bars(
        title=drawn.title,
        unit=drawn.unit,
        values=dict(ordered),
        ours=OURS,
        says=f"{better} is better; the scale is logarithmic.",
        logarithmic=True,
    )
