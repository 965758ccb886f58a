"""`queue`: the cost of the fair queue for each request: a push, a pop, and reporting its duration.

There is no clock and no I/O: this is the cost of fairness, bounds and deadlines alone.
"""

import time
from itertools import cycle, islice
from statistics import median

from benchmarks.plan import Plan
from benchmarks.report.record import Lines, Row, Section, Table
from workers import Ticket
from workers.pool.fair_queue import FairQueue, QueueBudget

WAITING = (1, 16, 1000)
FLOWS = (1, 100)
# The durations of requests in turn, in seconds. They differ, so estimates are wrong and corrected.
_SERVICE = (0.001, 0.001, 0.01)
_TURNS = 2000
_LIMIT = 30.0


def run(plan: Plan) -> Section:
    plan.say("pushes and pops")
    rows: list[Row] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    for flows in FLOWS:
        for waiting in WAITING:
            found = [_turns(waiting, flows) for _ in range(20 * plan.rounds)]
            typical = median(found)
            rows.append(
                {"waiting": waiting, "flows": flows, "each_ns": typical, "at best_ns": min(found)}
            )
            lines.setdefault(f"{flows} flow{'s' if flows > 1 else ''}", []).append(
                (waiting, typical)
            )
    return Section(
        verb="queue",
        title="one request's way through the fair queue",
        says="A push, a pop and telling what it took, while others wait. Medians of repetitions; "
        "the loop around them is part of the figure.",
        tables=[Table("By how many wait, of how many flows", rows)],
        pictures=[
            Lines(
                title="One request's way through the queue",
                x="waiting",
                y="ns",
                series=lines,
                logarithmic=True,
                says="Flat is best.",
            )
        ],
    )


def _turns(waiting: int, flows: int) -> float:
    """Nanoseconds for each request, while so many always wait."""
    queue = FairQueue(
        QueueBudget(10 * waiting + 100, 1 << 30), QueueBudget(10 * waiting + 100, 1 << 30)
    )
    names = cycle(f"127.0.0.{number}" for number in range(flows))
    tickets = [_ticket(name, number) for number, name in enumerate(islice(names, waiting))]
    for ticket in tickets:
        queue.push(ticket)
    entering = [_ticket(name, waiting + n) for n, name in enumerate(islice(names, _TURNS))]
    took = list(islice(cycle(_SERVICE), _TURNS))
    began = time.perf_counter_ns()
    for ticket, seconds in zip(entering, took, strict=True):
        queue.push(ticket)
        queue.settle(queue.pop(), seconds)
    return (time.perf_counter_ns() - began) / _TURNS


def _ticket(flow: str, number: int) -> Ticket:
    ticket = Ticket(b'{"a":3,"b":5}', lambda _: None, flow)
    ticket.due = _LIMIT + number
    return ticket
