"""`r`: a function of R, against a pipe's round trip to an R, plumber, and the same in Python."""

from statistics import median

from benchmarks import comparison, servers
from benchmarks.peers.pipe import R, pipe_round_trips
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Section, Table
from benchmarks.suites import targets

CALLERS = (1, 16)
OURS = "predictd, R"


def run(plan: Plan) -> Section:
    pipe: list[float] = []
    results = comparison.run_rounds(
        [
            servers.ours(OURS, "add.R"),
            servers.plumber(plan.cache),
            servers.ours(),
            servers.nginx(plan.cache),
        ],
        CALLERS,
        plan,
        lambda: pipe.append(pipe_round_trips(plan.seconds / 2, R).p50),
    )
    pipe_us = median(pipe)
    ours, plumber = results[OURS], results["plumber"]
    why_not = "plumber failed" if plumber.failed else "predictd failed"
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
        verb="r",
        title="a function of R, against plumber and the floors",
        says="One copy of `add` in R. Each server ran alone, in turns; medians of the rounds. A"
        f" pipe's round trip to an R that reads and answers bytes took {pipe_us:.1f} us.",
        tables=tables,
        goals=[
            *targets.latency({**results, servers.OURS: ours}, pipe_us),
            Goal(
                what="p50, 1 caller / plumber's, which isolates nothing",
                found=targets.divided(ours.median_of(1, "p50_us"), plumber.median_of(1, "p50_us")),
                bound=0.25,
                why_not=why_not,
            ),
            Goal(
                what="throughput, 16 callers / plumber's",
                found=targets.divided(
                    ours.median_of(16, "requests_per_second"),
                    plumber.median_of(16, "requests_per_second"),
                ),
                bound=5.0,
                sense=">=",
                why_not=why_not,
            ),
        ],
    )
