"""`overload`: twice the requests that the model can serve, for a minute and a half.

The contract: a request that cannot be served within the limit is refused at the limit, not earlier
and not later. No request is lost. The waiting requests are bounded. When the callers disconnect,
their work ends. The model takes a known time without using the processor, so its capacity is known.
"""

import time

import msgspec

from benchmarks import gateway_process
from benchmarks.load import python
from benchmarks.load.spec import NONCE, Answers, Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Lines, Row, Section, Table
from benchmarks.sampler import Cost, watching

# So slow that all requests within the longest wait fit into the queue: a refused one has waited.
SERVICE_SECONDS = 0.08
TIMES_CAPACITY = 2.0
# Many callers, with several addresses.
SOURCES = tuple(f"127.0.0.{last}" for last in range(1, 9))
MARGIN = 1.0
# The memory of the gateway that waiting requests may use.
GROWTH_MB = 64.0
_SECOND = 1_000_000_000


def run(plan: Plan) -> Section:
    limit, seconds = (3.0, 10.0) if plan.quick else (30.0, 90.0)
    with gateway_process.started(model_request_timeout=limit) as gateway:
        [key] = gateway.deploy("sleep", "sleep")
        target = gateway.target(key, {"seconds": SERVICE_SECONDS, "nonce": NONCE.decode()})
        gateway_process.check(target, NONCE.decode())
        capacity = _capacity(target, plan.seconds)
        load = Load(
            target=target,
            seconds=seconds,
            rate=TIMES_CAPACITY * capacity,
            connections=len(SOURCES),
            sources=SOURCES,
            nonce=True,
            warm_up=0.0,
            patience=limit + 10,
        )
        plan.say(f"{load.rate:.0f} requests per second for {seconds:g} s")
        with watching(gateway.roles) as costs:
            at_rest = costs["gateway"].last_mb
            found = python.run(load)
        plan.say("the same until the queue is full of waiting, then everybody hangs up")
        freed = _after_hanging_up(load, limit)
    return Section(
        verb="overload",
        title=f"{TIMES_CAPACITY:g} times the capacity for {seconds:g} s",
        says=f"The model takes {1000 * SERVICE_SECONDS:.0f} ms, so its one replica can do "
        f"{capacity:.1f} per second; {load.rate:.1f} came. Who has waited {limit:g} s is refused.",
        tables=[_answers(found), _costs(costs)],
        pictures=[_timeline(found)],
        goals=_goals(found, limit, costs["gateway"].peak_mb - at_rest, freed),
    )


def _capacity(target: Target, seconds: float) -> float:
    found = python.run(Load(target=target, seconds=max(2.0, seconds), connections=4, nonce=True))
    return found.good.count / found.seconds


def _after_hanging_up(load: Load, limit: float) -> float:
    """Seconds until a new caller is answered, after all callers of a full queue disconnected."""
    python.run(msgspec.structs.replace(load, seconds=limit / 2, hang_up=True))
    began = time.monotonic()
    gateway_process.check(load.target, NONCE.decode())
    return time.monotonic() - began


def _answers(found: Answers) -> Table:
    rows: list[Row] = [
        {
            "status": status,
            "answers": seen.count,
            "soonest_s": seen.at(0.0) / _SECOND,
            "p50_s": seen.at(0.5) / _SECOND,
            "p99_s": seen.at(0.99) / _SECOND,
            "latest_s": seen.largest / _SECOND,
        }
        for status, seen in found.by_status.items()
    ]
    says = (
        f"{found.sent} requests were sent, {found.lost} got no answer, {found.wrong} got the "
        f"answer to another request; at most {found.most_outstanding} were under way at once. "
        f"Times are from when a request was due; the generator was late by "
        f"{found.late.at(0.99) / 1e6:.2f} ms (p99)."
    )
    return Table("What came back, and when", rows, says)


def _costs(costs: dict[str, Cost]) -> Table:
    rows: list[Row] = [
        {
            "role": role,
            "processes": cost.processes,
            "cpu_s": cost.cpu_seconds,
            "peak_mb": cost.peak_mb,
            "memory": cost.memory,
            "rss_mb": cost.rss_mb,
        }
        for role, cost in costs.items()
    ]
    return Table("What the processes took", rows)


def _timeline(found: Answers) -> Lines:
    counts = {(second, status): count for second, status, count in found.timeline}
    seconds = range(max((second for second, _ in counts), default=-1) + 1)
    series = {
        str(status): [(float(second), float(counts.get((second, status), 0))) for second in seconds]
        for status in sorted({status for _, status in counts})
    }
    return Lines(
        title="Answers by status, over time",
        x="seconds since the load began",
        y="answers per second",
        series=series,
    )


def _goals(found: Answers, limit: float, growth_mb: float, freed: float) -> list[Goal]:
    busy = found.by_status.get("429")
    low, high = (limit - MARGIN) * _SECOND, (limit + MARGIN) * _SECOND
    others = sum(seen.count for s, seen in found.by_status.items() if s not in ("200", "429"))
    return [
        Goal(
            what=f"429s that came at another time than {limit:g} ± {MARGIN:g} s",
            found=busy.count - busy.between(low, high) if busy else None,
            bound=0,
            why_not="no 429 came",
        ),
        Goal(what="requests lost", found=found.lost, bound=0),
        Goal(what="answers to another request", found=found.wrong, bound=0),
        Goal(what="answers that were neither 200 nor 429", found=others, bound=0),
        Goal(
            what="from the end of the load to the last answer",
            found=found.drained,
            bound=limit + MARGIN,
            unit="s",
        ),
        Goal(
            what="after all callers hung up: until a new one is answered",
            found=freed,
            bound=MARGIN,
            unit="s",
        ),
        Goal(what="growth of the gateway's memory", found=growth_mb, bound=GROWTH_MB, unit="MB"),
    ]
