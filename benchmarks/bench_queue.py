"""`queue`: what the fair queue costs: one push and one pop, with others waiting.

No clock, no I/O: this is the price of fairness alone, in each request's time.
"""

import time
from itertools import cycle
from statistics import median

from benchmarks.plan import Plan
from benchmarks.report.record import Row, Section, Table
from workers import Ticket
from workers.fair_queue import FairQueue

WAITING = (1, 16, 1000)
FLOWS = (1, 100)
_TURNS = 2000


def run(plan: Plan) -> Section:
    plan.say("pushes and pops")
    rows: list[Row] = []
    for flows in FLOWS:
        for waiting in WAITING:
            found = [_push_and_pop(waiting, flows) for _ in range(20 * plan.rounds)]
            rows.append(
                {
                    "waiting": waiting,
                    "flows": flows,
                    "push and pop_ns": median(found),
                    "at best_ns": min(found),
                }
            )
    return Section(
        verb="queue",
        title="one push and one pop of the fair queue",
        says="Medians of repetitions; the loop around them is part of the figure.",
        tables=[Table("By how many wait, of how many flows", rows)],
    )


def _push_and_pop(waiting: int, flows: int) -> float:
    """Nanoseconds."""
    queue = FairQueue(most_requests=waiting + 1, most_bytes=1 << 30)
    names = [f"127.0.0.{number}" for number in range(flows)]
    for _, flow in zip(range(waiting), cycle(names), strict=False):
        queue.push(_ticket(flow))
    entering = [_ticket(flow) for _, flow in zip(range(_TURNS), cycle(names), strict=False)]
    began = time.perf_counter_ns()
    for ticket in entering:
        queue.push(ticket)
        queue.pop()
    return (time.perf_counter_ns() - began) / _TURNS


def _ticket(flow: str) -> Ticket:
    return Ticket(b'{"a":3,"b":5}', lambda _: None, flow)
