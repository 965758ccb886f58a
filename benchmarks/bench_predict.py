"""One prediction of `add`: what it costs through the gateway, and through a pool alone.

The two ways are measured in turns, A B A B, on one machine in one run. The difference between them
is what HTTP costs; what the pool costs above the floor of a pipe is ours.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import trio

from benchmarks import rig
from workers import Answered, Pool, PoolSpec, ReplicaSpec, open_workers

ROUNDS = 3
CALLERS = (1, 16)
REQUEST = {"a": 3, "b": 5}


def run(seconds: float) -> list[dict[str, object]]:
    """A row for each way and number of callers; medians of the rounds."""
    measured: dict[tuple[str, int], list[dict[str, float]]] = {}
    with rig.gateway() as client:
        key = rig.deploy(client, "add", "add", replicas=1)
        body = json.dumps({"accessKey": key, "request": REQUEST}).encode()
        for _ in range(ROUNDS):
            for callers in CALLERS:
                found = _through_http(client.url, callers, seconds, body)
                measured.setdefault(("POST /model", callers), []).append(found)
                found = trio.run(_through_pool, callers, seconds)
                measured.setdefault(("pool alone", callers), []).append(found)
    return [
        {"way": way, "callers": callers, **_medians(rounds)}
        for (way, callers), rounds in measured.items()
    ]


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(r[name] for r in rounds) for name in rounds[0]}


def _through_http(url: str, callers: int, seconds: float, body: bytes) -> dict[str, float]:
    """The load generator's own figures."""
    host = urlsplit(url)
    arguments = [str(host.hostname), str(host.port), str(callers), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.load", *arguments]
    done = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


async def _through_pool(callers: int, seconds: float) -> dict[str, float]:
    """The same function behind a pool, without HTTP."""
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
        environment = Path(folder) / "environment"
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "python").symlink_to(sys.executable)
        async with open_workers(Path(folder) / "replicas", "benchmark") as workers:
            replica = ReplicaSpec(
                code=rig.MODELS / "add", environment=environment, file="add.py", function="add"
            )
            spec = PoolSpec(name="add", replica=replica, log_folder=Path(folder) / "logs")
            pool = workers.open_pool(spec)
            await pool.wait_ready()
            return await _load_pool(pool, callers, seconds)


async def _load_pool(pool: Pool, callers: int, seconds: float) -> dict[str, float]:
    request = json.dumps(REQUEST).encode()
    seen: list[int] = []
    until = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < until:
            began = time.perf_counter_ns()
            outcome = await pool.predict(request)
            seen.append(time.perf_counter_ns() - began)
            assert isinstance(outcome, Answered), outcome

    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    took = time.monotonic() - began
    seen.sort()
    return {
        "requests_per_second": round(len(seen) / took),
        "p50_us": round(seen[len(seen) // 2] / 1000, 1),
        "p99_us": round(seen[int(len(seen) * 0.99)] / 1000, 1),
        "requests": len(seen),
    }
