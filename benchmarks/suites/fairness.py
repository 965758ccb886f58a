"""`fairness`: what other callers notice while one caller keeps 200 requests outstanding.

Flows are by client address, and all clients of this machine are one flow. The crowd calls from this
machine. Another caller of the same model and a caller of another model name other addresses, as a
trusted proxy would. The models take a known time without using the processor, so that the queue is
measured and not the cores.
"""

from msgspec import structs

from benchmarks import gateway_process
from benchmarks.load import python
from benchmarks.load.histogram import Histogram
from benchmarks.load.spec import NONCE, Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Goal, Section, Table

SERVICE_SECONDS = 0.01
PROXIES = ("127.0.0.2", "127.0.0.3")
CROWD = 200
# The crowd stays until the other callers have started, warmed up and been measured.
LONGER = 5.0
SAME, OTHER = "another caller of the same model", "a caller of another model"
QUIET, CROWDED = "quiet", f"beside {CROWD} outstanding"


def run(plan: Plan) -> Section:
    with gateway_process.started(trusted_proxies=",".join(PROXIES)) as gateway:
        keys = gateway.deploy("sleep", "sleep", models=2)
        request = {"seconds": SERVICE_SECONDS, "nonce": NONCE.decode()}
        crowded, other = (gateway.target(key, request) for key in keys)
        for target in (crowded, other):
            gateway_process.check(target, NONCE.decode())
        seen: dict[tuple[str, str], list[Histogram]] = {}
        served = 0
        for number in range(min(3, plan.rounds)):
            plan.say(f"round {number + 1}: quiet")
            _probe(crowded, other, plan, QUIET, seen)
            plan.say(f"round {number + 1}: with {CROWD} outstanding")
            load = Load(
                target=crowded,
                seconds=2 * plan.seconds + LONGER,
                connections=CROWD,
                nonce=True,
                warm_up=0.0,
            )
            with python.running(load) as crowd:
                _probe(crowded, other, plan, CROWDED, seen)
                served += crowd.answers().good.count
    return _section({way: Histogram.merged(several) for way, several in seen.items()}, served)


def _probe(
    crowded: Target,
    other: Target,
    plan: Plan,
    when: str,
    seen: dict[tuple[str, str], list[Histogram]],
) -> None:
    """Measures one caller of each, both at once. Fails if an answer is not successful."""

    def load(target: Target, proxy: str, client: str) -> Load:
        target = structs.replace(target, headers={"X-Forwarded-For": client})
        return Load(target=target, seconds=2 * plan.seconds, sources=(proxy,), nonce=True)

    with (
        python.running(load(crowded, PROXIES[0], "192.0.2.1")) as first,
        python.running(load(other, PROXIES[1], "192.0.2.2")) as second,
    ):
        for who, generator in ((SAME, first), (OTHER, second)):
            found = generator.answers()
            if found.failed:
                raise python.LoadFailed(f"{found.failed} requests of {who} failed, {when}")
            seen.setdefault((who, when), []).append(found.good)


def _section(seen: dict[tuple[str, str], Histogram], served: int) -> Section:
    def at(who: str, when: str, share: float) -> float:
        return seen[who, when].at(share) / 1e6

    service = 1000 * SERVICE_SECONDS
    return Section(
        verb="fairness",
        title=f"one caller with {CROWD} requests outstanding, and two others",
        says=f"Each prediction takes {service:g} ms; one replica to a model. The crowd got "
        f"{served} answers meanwhile.",
        tables=[
            Table(
                "Closed loop, one request at a time",
                [
                    {"caller": who, "when": when, "answers": found.count, **found.percentiles()}
                    for (who, when), found in sorted(seen.items(), reverse=True)
                ],
            )
        ],
        pictures=[
            Bars(
                title="p99 of those who share the gateway with a crowd",
                unit="ms",
                values={f"{who}, {when}": at(who, when, 0.99) for who, when in sorted(seen)},
                says="Lower is better.",
            )
        ],
        goals=[
            Goal(
                what="another caller's p99: 2 service times + its quiet p50",
                found=at(SAME, CROWDED, 0.99),
                bound=2 * service + at(SAME, QUIET, 0.5),
                unit="ms",
            ),
            Goal(
                what="another model's p99 / its quiet p99",
                found=at(OTHER, CROWDED, 0.99) / at(OTHER, QUIET, 0.99),
                bound=1.5,
            ),
        ],
    )
