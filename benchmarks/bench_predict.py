"""`predict`: one prediction of `add`, what it costs, and what part of that is ours.

Through `POST /model` by 1 and by 16 callers; through a pool without HTTP; and the floors below
which no such server can be: nginx with a static reply, and a pipe's round trip. Then its latency
under a rate, and the admin API's while predictions take all that the machine has.
"""

from statistics import median

from benchmarks import contenders, contest, floors, goals, pool_alone, rig
from benchmarks.contenders import NGINX, OURS
from benchmarks.contest import Result
from benchmarks.load import closed, own
from benchmarks.load.histogram import Histogram
from benchmarks.load.spec import Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Goal, Lines, Row, Section, Table
from benchmarks.rig import Gateway

CALLERS = (1, 16)
# Requests per second; those that the gateway can carry are tried. The last is about what our
# generator can make.
RATES = (100, 250, 500, 1000, 2000, 4000, 8000, 12000)
HEADROOM = 0.8
ADMIN_RATE = 20


def run(plan: Plan) -> Section:
    pipe: list[float] = []
    pool: dict[int, list[tuple[float, Histogram]]] = {callers: [] for callers in CALLERS}

    def aside() -> None:
        plan.say("the pipe's round trip, and the pool alone")
        pipe.append(floors.pipe_round_trip(plan.seconds / 2))
        for callers in CALLERS:
            pool[callers].append(pool_alone.measure(callers, plan.seconds / 2))

    asked = [contenders.ours(), contenders.nginx(plan.cache)]
    results = contest.hold(asked, CALLERS, plan, aside)
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
        goals=goals.latency(results, pipe_us),
        ratios=_ratios(ours, nginx, _p50(pool[1]), pipe_us),
    )
    section.tables.append(
        Table("What the processes took", [row for r in results.values() for row in r.cost_rows()])
    )
    section.pictures.append(_parts(ours, nginx, _p50(pool[1]), pipe_us))
    section.failure = "; ".join(f for result in results.values() for f in result.failures)
    if ours.failed:
        return section
    _under_load(section, ours.median_of(16, "requests_per_second") or 0.0, plan)
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
    """Costs against the floors of this run: the better the smaller."""
    p50 = ours.median_of(1, "p50_us")
    found = {
        "p50, 1 caller / pipe": goals.divided(p50, pipe_us),
        "p50 of the pool alone / pipe": pool_p50 / pipe_us,
    }
    if nginx:
        floor = nginx.median_of(1, "p50_us")
        found["p50, 1 caller / (nginx + pipe)"] = goals.divided(p50, floor and floor + pipe_us)
        found["time per request, 16 callers / nginx"] = goals.divided(
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


def _under_load(section: Section, capacity: float, plan: Plan) -> None:
    with rig.gateway() as gateway:
        [key] = gateway.deploy("add", "add")
        target = gateway.target(key, contenders.REQUEST)
        rig.check(target, contenders.ANSWER)
        closed.measure(target, 4, 1)
        _under_rates(section, target, capacity, plan)
        _admin(section, gateway, target, plan)


def _under_rates(section: Section, target: Target, capacity: float, plan: Plan) -> None:
    rates = [rate for rate in RATES if rate <= HEADROOM * capacity]
    rows: list[Row] = []
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in ("p50", "p99", "p99.9")}
    for rate in rates[:: 2 if plan.quick else 1]:
        plan.say(f"{rate} requests per second")
        load = Load(
            target=target, seconds=2 * plan.seconds, rate=rate, arrivals="poisson", connections=16
        )
        found = own.run(load)
        rows.append({"asked per second": rate, **latencies(found.latency), "failed": found.failed})
        rows[-1] |= {
            "late p50_us": found.late.at(0.5) / 1000,
            "late p99_us": found.late.at(0.99) / 1000,
            "generator cpu": f"{100 * found.cpu_seconds / found.seconds:.0f} %",
        }
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
            lines[name].append((rate, found.latency.at(share) / 1000))
    says = (
        "Open loop: requests are due at random moments, whether earlier ones were answered or not, "
        "and are timed from when they were due. `late` is how far "
        "the generator was behind its own schedule: where that is as much as the latency, the "
        "generator is what was measured."
    )
    section.tables.append(Table("Latency under a rate", rows, says))
    section.pictures.append(
        Lines(
            title="Latency under a rate",
            x="requests per second",
            y="µs",
            series=lines,
            says="Open loop, Poisson arrivals.",
            logarithmic=True,
        )
    )


def _admin(section: Section, gateway: Gateway, target: Target, plan: Plan) -> None:
    """The admin API by one caller, quiet and while 16 callers take all they can."""
    plan.say("the admin API under full load")
    # Full load may be a second longer than asked for, as wrk counts whole seconds.
    seconds = 2 * plan.seconds
    admin = Load(target=gateway.admin("/models"), seconds=seconds, rate=ADMIN_RATE)
    quiet = own.run(admin)
    with own.running(admin) as generator:
        load = closed.measure(target, 16, seconds + 0.5)
        loaded = generator.answers()
    rows: list[Row] = [
        {"predictions per second": 0, **latencies(quiet.latency), "failed": quiet.failed},
        {
            "predictions per second": load.requests_per_second,
            **latencies(loaded.latency),
            "failed": loaded.failed,
        },
    ]
    section.tables.append(Table("GET /api/v2/models each 50 ms", rows))
    section.goals.append(
        Goal(
            what="p99 of the admin API under full load",
            found=loaded.latency.at(0.99) / 1e6,
            bound=10.0,
            unit="ms",
        )
    )


def latencies(seen: Histogram) -> Row:
    """The usual percentiles, in microseconds."""
    shares = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
    row: Row = {name: seen.at(share) / 1000 for name, share in shares.items()}
    return {**row, "max_us": seen.largest / 1000}
