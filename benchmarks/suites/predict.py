"""`predict`: the cost of one prediction of `add`, and predictd's part of it.

It is measured through `POST /model` with 1 and with 16 callers, through a pool without HTTP, and
against two floors that no such server can go below: nginx with a static reply, and a pipe's round
trip. Then latency under load, which closed loops do not show (under_load.py).
"""

from statistics import median

from benchmarks import comparison, servers
from benchmarks.comparison import Result
from benchmarks.load.histogram import Histogram
from benchmarks.peers.pipe import pipe_round_trips
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Lines, Row, Section, Table
from benchmarks.servers import NGINX, OURS
from benchmarks.suites import pool_only, targets, under_load

CALLERS = (1, 16)


def run(plan: Plan) -> Section:
    pipe: list[float] = []
    pool: dict[int, list[tuple[float, Histogram]]] = {callers: [] for callers in CALLERS}

    def aside() -> None:
        plan.say("the pipe's round trip, and the pool alone")
        pipe.append(pipe_round_trips(plan.seconds / 2).p50)
        for callers in CALLERS:
            pool[callers].append(pool_only.measure(callers, plan.seconds / 2))

    asked = [servers.ours(), servers.nginx(plan.cache)]
    results = comparison.run_rounds(asked, CALLERS, plan, aside)
    pipe_us = median(pipe)
    ours, nginx = results[OURS], results.get(NGINX)
    section = Section(
        verb="predict",
        title="one prediction of a function that adds two numbers",
        says="One replica. Each way was measured in turns; medians of the rounds.",
        tables=[
            _table(callers, ours, nginx, pool[callers], pipe_us if callers == 1 else None)
            for callers in CALLERS
        ],
        goals=targets.latency(results, pipe_us),
        ratios=_ratios(ours, nginx, _p50(pool[1]), pipe_us),
    )
    section.tables.append(
        Table("What the processes took", [row for r in results.values() for row in r.cost_rows()])
    )
    section.pictures.append(_parts(ours, nginx, _p50(pool[1]), pipe_us))
    section.pictures.append(_percentiles(results, pool[1]))
    section.failure = "; ".join(f for result in results.values() for f in result.failures)
    if ours.failed:
        return section
    under_load.measure(section, ours.median_of(16, "requests_per_second") or 0.0, plan)
    return section


def _table(
    callers: int,
    ours: Result,
    nginx: Result | None,
    pool: list[tuple[float, Histogram]],
    pipe_us: float | None,
) -> Table:
    rows = [_way("POST /model", ours.row(callers))]
    rows.append(
        {
            "way": "the pool alone, without HTTP",
            "requests_per_second": median(rate for rate, _ in pool),
            "p50_us": _p50(pool),
            "p99_us": median(seen.at(0.99) for _, seen in pool) / 1000,
        }
    )
    if nginx:
        rows.append(_way("floor: nginx, static reply", nginx.row(callers)))
    if pipe_us:
        rows.append({"way": "floor: a pipe's round trip to a Python process", "p50_us": pipe_us})
    return Table(f"{callers} caller{'s' if callers > 1 else ''}, closed loop", rows)


def _way(way: str, row: Row) -> Row:
    return {"way": way} | {k: v for k, v in row.items() if k not in ("server", "isolation")}


def _p50(pool: list[tuple[float, Histogram]]) -> float:
    return median(seen.at(0.5) for _, seen in pool) / 1000


def _ratios(
    ours: Result, nginx: Result | None, pool_p50: float, pipe_us: float
) -> dict[str, float]:
    """Costs against the floors of this run; smaller is better."""
    p50 = ours.median_of(1, "p50_us")
    found = {
        "p50, 1 caller / pipe": targets.divided(p50, pipe_us),
        "p50 of the pool alone / pipe": pool_p50 / pipe_us,
    }
    if nginx:
        floor = nginx.median_of(1, "p50_us")
        found["p50, 1 caller / (nginx + pipe)"] = targets.divided(p50, floor and floor + pipe_us)
        found["time per request, 16 callers / nginx"] = targets.divided(
            nginx.median_of(16, "requests_per_second"), ours.median_of(16, "requests_per_second")
        )
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _parts(ours: Result, nginx: Result | None, pool_p50: float, pipe_us: float) -> Bars:
    values = {
        "POST /model": ours.median_of(1, "p50_us"),
        "pool alone": pool_p50,
        "nginx, static": nginx.median_of(1, "p50_us") if nginx else None,
        "pipe": pipe_us,
    }
    return Bars(
        title="Where a prediction's time goes: p50, one caller",
        unit="µs",
        values=values,
        ours="POST /model",
        says="Lower is better.",
    )


def _percentiles(results: dict[str, Result], pool: list[tuple[float, Histogram]]) -> Lines:
    """A chart of the percentiles: latencies further right are rarer."""
    rarity = {2.0: "p50_us", 10.0: "p90_us", 100.0: "p99_us", 1000.0: "p999_us"}
    series = {
        name: [(n, result.median_of(1, which) or 0.0) for n, which in rarity.items()]
        for name, result in results.items()
        if not result.failed
    }
    together = Histogram.merged(seen for _, seen in pool)
    series["pool alone"] = [(n, together.at(1 - 1 / n) / 1000) for n in rarity]
    return Lines(
        title="Latency percentiles, one caller",
        x="one request in so many is slower",
        y="µs",
        series=series,
        logarithmic=True,
        says="p50, p90, p99 and p99.9 from left to right. Low and flat is best.",
    )
