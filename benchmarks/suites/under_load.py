"""A gateway under load: how long predictions take at a rate, and the admin API at full load.

At a rate, requests are due at random times, as from many independent callers, and each is timed
from when it was due. At full load 16 closed-loop callers send as fast as they can.
"""

from benchmarks import gateway_process, servers
from benchmarks.gateway_process import Gateway
from benchmarks.load import closed, python
from benchmarks.load.spec import Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Lines, Row, Section, Table

# Requests per second. Rates above the gateway's capacity are skipped. The last is about the limit
# of the built-in generator.
RATES = (100, 250, 500, 1000, 2000, 4000, 8000, 12000)
HEADROOM = 0.8
ADMIN_RATE = 20


def measure(section: Section, capacity: float, plan: Plan) -> None:
    """Adds the results of a gateway with this capacity, in requests per second, to the section."""
    with gateway_process.started() as gateway:
        [key] = gateway.deploy("add", "add")
        target = gateway.target(key, servers.REQUEST)
        gateway_process.check(target, servers.ANSWER)
        closed.measure(target, 4, 1)
        _under_rates(section, target, capacity, plan)
        _admin(section, gateway, target, plan)


def _under_rates(section: Section, target: Target, capacity: float, plan: Plan) -> None:
    rates = [rate for rate in RATES if rate <= HEADROOM * capacity] or [*RATES[:1]]
    rows: list[Row] = []
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in ("p50", "p99", "p99.9")}
    for rate in rates[:: 2 if plan.quick else 1]:
        plan.say(f"{rate} requests per second")
        load = Load(
            target=target, seconds=2 * plan.seconds, rate=rate, arrivals="poisson", connections=16
        )
        found = python.run(load)
        rows.append(
            {"asked per second": rate, **found.latency.percentiles(), "failed": found.failed}
        )
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
    """Measures the admin API by one caller, quiet and while 16 callers send predictions."""
    plan.say("the admin API under full load")
    # Full load may last a second longer than requested, as wrk counts whole seconds.
    seconds = 2 * plan.seconds
    admin = Load(target=gateway.admin("/models"), seconds=seconds, rate=ADMIN_RATE)
    quiet = python.run(admin)
    with python.running(admin) as generator:
        load = closed.measure(target, 16, seconds + 0.5)
        loaded = generator.answers()
    rows: list[Row] = [
        {"predictions per second": 0, **quiet.latency.percentiles(), "failed": quiet.failed},
        {
            "predictions per second": load.requests_per_second,
            **loaded.latency.percentiles(),
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
