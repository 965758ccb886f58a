"""`store`: the cost of one transaction through the bridge to the store's thread.

A write is on the disk when it returns, so its cost includes a sync of this disk.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

import store
from benchmarks.load.histogram import Histogram
from benchmarks.plan import Plan
from benchmarks.report.record import Row, Section, Table
from store import Database, Project


def run(plan: Plan) -> Section:
    return trio.run(_run, plan)


async def _run(plan: Plan) -> Section:
    plan.say("reads and writes")
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
        async with store.open_database(Path(folder) / "predictd.db") as database:
            rows = await _measure(database, plan.seconds)
    return Section(
        verb="store",
        title="one transaction through the bridge",
        says="One after the other, on a nearly empty database in the folder for temporary files.",
        tables=[Table("Transactions", rows)],
    )


async def _measure(database: Database, seconds: float) -> list[Row]:
    made = 0

    async def insert() -> Project:
        nonlocal made
        made += 1
        project = Project(name=f"p{made}", path=f"/p{made}", linked=True, creator="us")
        return await database.write(store.projects.insert, project)

    project = await insert()

    async def get() -> Project:
        return await database.read(store.projects.get, project.id)

    return [
        {"what": "read one project", **(await _timed(get, seconds)).percentiles()},
        {"what": "insert one project", **(await _timed(insert, seconds)).percentiles()},
    ]


async def _timed(act: Callable[[], Awaitable[object]], seconds: float) -> Histogram:
    seen = Histogram()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter_ns()
        await act()
        seen.add(time.perf_counter_ns() - began)
    return seen
