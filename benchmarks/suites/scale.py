"""`scale`: does a prediction cost more beside many idle models and connections?

Three gateways in turns: one with one model; one with 200 models, each with its replica; and the
same with 1,000 idle connections too, each of which has made one prediction.
"""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks import gateway_process, servers
from benchmarks.gateway_process import Gateway
from benchmarks.load import closed
from benchmarks.load.closed import Capacity
from benchmarks.load.python import LoadFailed
from benchmarks.load.spec import Target
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Goal, Row, Section, Table, spread
from benchmarks.sampler import Cost, watching


def run(plan: Plan) -> Section:
    models, idle = (20, 100) if plan.quick else (200, 1000)
    with ExitStack() as stack:
        small, large = (stack.enter_context(gateway_process.started()) for _ in range(2))
        plan.say(f"deploying {models} models")
        one = _target(small, 1)
        many = _target(large, models)
        ways = {
            "1 model": (one, 0),
            f"{models} models": (many, 0),
            f"{models} models, {idle:,} idle connections": (many, idle),
        }
        found: dict[str, list[Capacity]] = {way: [] for way in ways}
        costs_small = stack.enter_context(watching(small.roles, every=None))
        costs_large = stack.enter_context(watching(large.roles, every=None))
        for number in range(plan.rounds):
            for way, (target, count) in ways.items():
                plan.say(f"round {number + 1}: {way}")
                with idling(target, count):
                    found[way].append(closed.measure(target, 1, plan.seconds))
    p50 = {way: median(c.p50_us for c in rounds) for way, rounds in found.items()}
    first, *others = p50
    return Section(
        verb="scale",
        title=f"1 and {models} models, 0 and {idle:,} idle connections",
        says="One caller of one of the models, closed loop.",
        tables=[
            Table("Latency", [_row(way, rounds) for way, rounds in found.items()]),
            Table(
                "Memory",
                [*_memory("1 model", costs_small), *_memory(f"{models} models", costs_large)],
                "The gateway of many models had the idle connections too.",
            ),
        ],
        pictures=[
            Bars(title="p50, one caller", unit="µs", values=dict(p50), says="Equal is best.")
        ],
        goals=[
            Goal(what=f"p50 with {way} / p50 with {first}", found=p50[way] / p50[first], bound=1.1)
            for way in others
        ],
    )


def _target(gateway: Gateway, models: int) -> Target:
    keys = gateway.deploy("add", "add", models=models)
    target = gateway.target(keys[len(keys) // 2], servers.REQUEST)
    gateway_process.check(target, servers.ANSWER)
    closed.measure(target, 4, 1)
    return target


@contextmanager
def idling(target: Target, count: int) -> Iterator[None]:
    """Opens so many connections from several addresses; each gets one answer."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        request = target.request()
        for number in range(count):
            source = (f"127.0.1.{1 + number % 50}", 0)
            connection = socket.create_connection((target.host, target.port), 30, source)
            stack.enter_context(connection)
            connection.sendall(request)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise LoadFailed(f"connection {number + 1} was not answered")
        yield


def _row(way: str, rounds: list[Capacity]) -> Row:
    figures = ("p50_us", "p90_us", "p99_us", "requests_per_second")
    medians = {name: median(float(getattr(c, name)) for c in rounds) for name in figures}
    return {"way": way, **medians, "spread of p50": spread([c.p50_us for c in rounds])}


def _memory(way: str, costs: dict[str, Cost]) -> list[Row]:
    return [
        {
            "way": way,
            "role": role,
            "processes": cost.processes,
            "peak_mb": cost.peak_mb,
            "each_mb": cost.peak_mb / max(1, cost.processes),
            "memory": cost.memory,
            "rss_mb": cost.rss_mb,
            "rss each_mb": cost.rss_mb / max(1, cost.processes),
        }
        for role, cost in costs.items()
    ]
