"""The same prediction without HTTP: closed-loop callers on a pool, in this process.

The difference from `POST /model` is the cost of HTTP. The difference from the floor of a pipe is
the cost of queue, pool and replica.
"""

import sys
import tempfile
import time
from pathlib import Path

import trio

from benchmarks.gateway_process import MODELS
from benchmarks.load.histogram import Histogram
from workers import Answered, Pool, PoolSpec, ReplicaSpec, open_workers

REQUEST = b'{"a":3,"b":5}'


def measure(callers: int, seconds: float) -> tuple[float, Histogram]:
    """Returns requests per second, and their latencies."""
    return trio.run(_measure, callers, seconds)


async def _measure(callers: int, seconds: float) -> tuple[float, Histogram]:
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
        environment = Path(folder) / "environment"
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "python").symlink_to(sys.executable)
        async with open_workers(Path(folder) / "replicas", "benchmark") as workers:
            replica = ReplicaSpec(
                code=MODELS / "add", environment=environment, file="add.py", function="add"
            )
            spec = PoolSpec(name="add", replica=replica, log_folder=Path(folder) / "logs")
            pool = workers.open_pool(spec)
            await pool.wait_ready()
            await _load(pool, callers, 0.2)
            return await _load(pool, callers, seconds)


async def _load(pool: Pool, callers: int, seconds: float) -> tuple[float, Histogram]:
    seen: list[int] = []
    began = time.monotonic()
    until = began + seconds

    async def caller() -> None:
        while time.monotonic() < until:
            sent = time.perf_counter_ns()
            outcome = await pool.predict(REQUEST)
            seen.append(time.perf_counter_ns() - sent)
            assert isinstance(outcome, Answered), outcome

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    return len(seen) / (time.monotonic() - began), Histogram.of(seen)
