"""`peers`: the same function behind every other server, and the floors, in one run.

Each is configured as its own documentation advises for one copy of the function, and runs alone
while it is measured. Those that isolate nothing run the function in the server's own process: what
they are spared is what predictd is for.
"""

from statistics import median

from benchmarks import contenders, contest, floors, goals
from benchmarks.contenders import OURS
from benchmarks.contest import Result
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Picture, Section, Table

CALLERS = (1, 16)
ROUNDS = 3


def run(plan: Plan) -> Section:
    pipe: list[float] = []
    results = contest.hold(
        [contenders.ours(), *contenders.peers(plan.cache)],
        CALLERS,
        plan.with_rounds(min(ROUNDS, plan.rounds)),
        lambda: pipe.append(floors.pipe_round_trip(plan.seconds / 2)),
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
        pictures=_pictures(list(results.values())),
        goals=[
            *goals.latency(results, sorted(pipe)[len(pipe) // 2]),
            *goals.against_peers(results),
        ],
    )


def _pictures(results: list[Result]) -> list[Picture]:
    lower = "Lower is better; the scale is logarithmic."
    higher = "Higher is better; the scale is logarithmic."

    def bars(title: str, unit: str, values: dict[str, float | None], says: str) -> Bars:
        sign = -1 if says is higher else 1
        best_first = dict(
            sorted(values.items(), key=lambda item: (item[1] is None, sign * (item[1] or 0.0)))
        )
        return Bars(
            title=title, unit=unit, values=best_first, ours=OURS, says=says, logarithmic=True
        )

    return [
        bars(
            "Throughput, 16 callers",
            "requests/s",
            {r.name: r.median_of(16, "requests_per_second") for r in results},
            higher,
        ),
        bars("p50, one caller", "µs", {r.name: r.median_of(1, "p50_us") for r in results}, lower),
        bars("p99, one caller", "µs", {r.name: r.median_of(1, "p99_us") for r in results}, lower),
        bars("p99, 16 callers", "µs", {r.name: r.median_of(16, "p99_us") for r in results}, lower),
        bars("Memory of all processes", "MB", {r.name: r.peak_mb for r in results}, lower),
    ]
