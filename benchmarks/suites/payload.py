"""`payload`: requests and replies from 1 KB to 5 MB, and what other callers notice.

The gateway checks a request's JSON without making objects; only the model's interpreter makes them.
So a request is compared with the time of that parsing, with the same parser. Meanwhile another
caller makes small predictions at a steady rate. Its longest wait shows for how long the gateway did
nothing else.
"""

import json
import time
from statistics import median
from typing import Any

from benchmarks import gateway_process, servers
from benchmarks.load import python
from benchmarks.load.spec import Answers, Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Lines, Row, Section, Table

SIZES_KB = (1, 10, 100, 1000, 5000)
SMALL_RATE = 200
RECORD = {"id": 12345, "name": "a short text", "value": 0.123456789, "flags": [True, False, None]}
_RECORD_BYTES = len(json.dumps(RECORD))


def run(plan: Plan) -> Section:
    rows: list[Row] = []
    with gateway_process.started() as gateway:
        [take], [give] = gateway.deploy("sized", "take"), gateway.deploy("sized", "give")
        [add] = gateway.deploy("add", "add")
        small = gateway.target(add, servers.REQUEST)
        quiet = python.run(Load(target=small, seconds=2 * plan.seconds, rate=SMALL_RATE))
        for kilobytes in SIZES_KB:
            records = 1000 * kilobytes // _RECORD_BYTES
            load = [RECORD] * records
            there = gateway.target(take, load)
            back = gateway.target(give, {"count": records, "record": RECORD})
            gateway_process.check(there, records)
            gateway_process.check(back, load)
            for kind, target, floor in (
                ("request", there, _median_us(json.loads, json.dumps(load))),
                ("reply", back, _median_us(json.dumps, load)),
            ):
                plan.say(f"{kind} of {kilobytes} KB")
                rows.append({"kind": kind, "size_kb": kilobytes})
                rows[-1] |= _measure(target, small, floor, plan)
    quiet_row: Row = {
        "kind": "none",
        "other's p99_ms": quiet.latency.at(0.99) / 1e6,
        "other's longest_ms": quiet.latency.largest / 1e6,
    }
    return _section([*rows, quiet_row])


def _measure(target: Target, small: Target, floor_us: float, plan: Plan) -> Row:
    """Measures one caller with large requests beside another with small ones."""
    with python.running(Load(target=target, seconds=plan.seconds, warm_up=0.0)) as generator:
        beside = python.run(Load(target=small, seconds=plan.seconds, rate=SMALL_RATE, warm_up=0.0))
        found = generator.answers()
    _refuse_failures(found, beside)
    p50 = found.latency.at(0.5) / 1000
    return {
        "p50_us": p50,
        "p99_us": found.latency.at(0.99) / 1000,
        "in json alone_us": floor_us,
        "times json": p50 / floor_us,
        "other's p99_ms": beside.latency.at(0.99) / 1e6,
        "other's longest_ms": beside.latency.largest / 1e6,
    }


def _refuse_failures(*answers: Answers) -> None:
    for found in answers:
        if found.failed:
            statuses = {status: seen.count for status, seen in found.by_status.items()}
            raise python.LoadFailed(f"{found.failed} requests failed: {statuses}")


def _median_us(act: Any, argument: Any) -> float:
    """The median time of `act` in this process, which has the same interpreter as replicas."""
    took = []
    for _ in range(11):
        began = time.perf_counter_ns()
        act(argument)
        took.append(time.perf_counter_ns() - began)
    return median(took) / 1000


def _section(rows: list[Row]) -> Section:
    def largest(kind: str) -> Row:
        return next(r for r in reversed(rows) if r["kind"] == kind)

    def line(kind: str, what: str) -> list[tuple[float, float]]:
        chosen = [row for row in rows if row["kind"] == kind]
        return [(float(row["size_kb"] or 0), float(row[what] or 0)) for row in chosen]

    return Section(
        verb="payload",
        title="requests and replies from 1 KB to 5 MB",
        says=f"One caller, closed loop, beside another with {SMALL_RATE} small predictions of "
        "another model per second. `in json alone` is json.loads of the request, or json.dumps of "
        "the reply, in an interpreter like the model's.",
        tables=[Table("Large ones, and what another caller noticed", rows)],
        pictures=[
            Lines(
                title="Time by size",
                x="KB",
                y="µs",
                series={
                    "request": line("request", "p50_us"),
                    "parse it once": line("request", "in json alone_us"),
                    "reply": line("reply", "p50_us"),
                },
                logarithmic=True,
                says="p50.",
            )
        ],
        goals=[
            Goal(
                what="p50 of a 5 MB request / parsing it once",
                found=float(largest("request")["times json"] or 0),
                bound=1.5,
            ),
            *(
                Goal(
                    what=f"another caller's p99 beside {kinds} of 5 MB",
                    found=float(largest(kind)["other's p99_ms"] or 0),
                    bound=5.0,
                    unit="ms",
                )
                for kind, kinds in (("request", "requests"), ("reply", "replies"))
            ),
        ],
    )
