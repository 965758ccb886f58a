"""`metrics`: the cost of tracking a prediction, whether every row is stored, and the time to read.

First the same function runs with and without metrics, in turns. Then tracked predictions run at
full speed while replicas are killed, and their rows are compared with the answers. Then one day's
rows are read from a month of a million.
"""

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import trio

import store
from benchmarks import gateway_process, servers
from benchmarks.load import closed, python
from benchmarks.load.closed import Capacity
from benchmarks.load.spec import Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Row, Section, Table, spread
from gateway.client import Client, Json
from store import MetricRecord, new_id

CALLERS = (1, 16)
PLAIN, TRACKED = "add", "add, tracked"
_TRACKED_PREDICTIONS, _ROWS = 100_000, 1_000_000
_NOON, _DAY_MS, _DAYS = 1_795_262_400_000, 86_400_000, 30
# The time between two kills of a replica.
_PEACE = 0.7


def run(plan: Plan) -> Section:
    with gateway_process.started() as gateway:
        [plain] = gateway.deploy("tracked", "add")
        [tracked] = gateway.deploy("tracked", "track")
        targets = {
            PLAIN: gateway.target(plain, servers.REQUEST),
            TRACKED: gateway.target(tracked, servers.REQUEST),
        }
        found = _in_turns(targets, plan)
    exact = _exact(plan)
    read = _read(plan)
    p50 = {name: median(c.p50_us for c in found[name, 1]) for name in targets}
    return Section(
        verb="metrics",
        title="predictions that are tracked",
        says="Two values are tracked of each; one replica, but three where replicas are killed.",
        tables=[
            *(_table(found, callers) for callers in CALLERS),
            Table("Rows and answers, while replicas are killed", [exact]),
            Table("A day's rows", [read]),
        ],
        goals=[
            Goal(what="p50, 1 caller / untracked", found=p50[TRACKED] / p50[PLAIN], bound=1.15),
            Goal(
                what="answers without a row, rows without an answer",
                found=abs(float(str(exact["rows"])) - float(str(exact["answers"]))),
                bound=0,
            ),
            Goal(
                what="reading a day's rows by their names",
                found=float(str(read["day_s"])),
                bound=1.0,
                unit="s",
            ),
        ],
    )


def _in_turns(targets: dict[str, Target], plan: Plan) -> dict[tuple[str, int], list[Capacity]]:
    found: dict[tuple[str, int], list[Capacity]] = {}
    for number in range(plan.rounds):
        for name, target in targets.items():
            plan.say(f"round {number + 1} of {plan.rounds}: {name}")
            closed.measure(target, 4, 0.5)
            for callers in CALLERS:
                capacity = closed.measure(target, callers, plan.seconds)
                found.setdefault((name, callers), []).append(capacity)
    return found


def _table(found: dict[tuple[str, int], list[Capacity]], callers: int) -> Table:
    rows: list[Row] = []
    for (name, count), capacities in found.items():
        if count == callers:
            figures = ("requests_per_second", "p50_us", "p99_us")
            row: Row = {f: median(getattr(c, f) for c in capacities) for f in figures}
            rates = [c.requests_per_second for c in capacities]
            rows.append({"what": name} | row | {"spread": spread(rates)})
    return Table(f"{callers} caller{'s' if callers > 1 else ''}, closed loop", rows)


def _exact(plan: Plan) -> Row:
    """Compares the number of answers with the number of rows."""
    wanted = _TRACKED_PREDICTIONS // (10 if plan.quick else 1)
    answers = failed = kills = 0
    with gateway_process.started() as gateway:
        [key] = gateway.deploy("tracked", "track", replicas=3)
        target = gateway.target(key, servers.REQUEST)
        [model] = gateway.client.listing("/models")
        path = f"/projects/{model['project']['id']}/models/{model['id']}"
        while answers < wanted:
            plan.say(f"{answers} tracked predictions of {wanted}")
            load = Load(target=target, seconds=plan.seconds, connections=16, warm_up=0.0)
            with python.running(load) as generator:
                until = time.monotonic() + plan.seconds - _PEACE
                while time.monotonic() < until:
                    time.sleep(_PEACE)
                    kills += _kill(gateway.client.get(f"{path}/replicas")["replicas"])
                came = generator.answers()
            answers += came.good.count
            failed += came.failed
        site = _written(gateway.client)
    return {
        "answers": answers,
        "rows": site["rows"],
        "without an answer": failed,
        "replicas killed": kills,
        "dropped": site["dropped"],
    }


def _kill(replicas: list[Json]) -> int:
    for replica in replicas:
        if replica["pid"] is not None:
            with suppress(ProcessLookupError):  # the process has ended meanwhile
                os.kill(replica["pid"], signal.SIGKILL)
                return 1
    return 0


def _written(client: Client) -> Json:
    """The reported state of the metrics, once none of them waits."""

    def none_waits() -> bool:
        return bool(client.get("/site")["metrics"]["waiting"] == 0)

    gateway_process.wait(none_waits, gateway_process.DEPLOY_TIMEOUT, "writing metrics")
    return dict(client.get("/site")["metrics"])


def _read(plan: Plan) -> Row:
    rows = _ROWS // (10 if plan.quick else 1)
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
        data = Path(folder) / "data"
        with gateway_process.started_on(data) as gateway:
            gateway.deploy("tracked", "track")
        plan.say(f"{rows} rows of {_DAYS} days")
        trio.run(_fill, data, rows)
        began = time.monotonic()
        with gateway_process.started_on(data, metrics_max_size="4GiB") as gateway:
            start = time.monotonic() - began
            [model] = gateway.client.listing("/models")
            day: list[float] = []
            for _ in range(plan.rounds):
                began = time.monotonic()
                found = _window(gateway.client, model["crn"])
                day.append(time.monotonic() - began)
    return {"rows": rows, "of the day": found, "day_s": median(day), "start_s": start}


def _window(client: Client, crn: str) -> int:
    """The number of rows in the middle day, read as `read_metrics` does."""
    window: Json = {
        "model_crn": crn,
        "start_timestamp_ms": _NOON + _DAYS // 2 * _DAY_MS,
        "end_timestamp_ms": _NOON + (_DAYS // 2 + 1) * _DAY_MS - 1,
        "page_size": 10_000,
    }
    count, token = 0, ""
    while True:
        page = client.get("/metrics", **window, page_token=token or None)
        count += len(page["metrics"])
        if not (token := page["next_page_token"]):
            return count


async def _fill(data: Path, rows: int) -> None:
    """Inserts so many rows of one deployment, evenly over all days."""
    apart, at_once = _DAYS * _DAY_MS // rows, 10_000
    async with store.open_database(data / "predictd.db") as database:
        [deployment] = await database.read(store.deployments.list_all)
        for first in range(0, rows, at_once):
            told = [
                MetricRecord(
                    uuid=new_id(),
                    start_ms=_NOON + n * apart,
                    end_ms=_NOON + n * apart + 3,
                    metrics='{"input":{"a":3,"b":5},"result":8}',
                )
                for n in range(first, first + at_once)
            ]
            now_ms = _NOON + _DAYS * _DAY_MS
            await database.write(
                store.metrics.append, {deployment.id: told}, limit=4 << 30, now_ms=now_ms
            )
