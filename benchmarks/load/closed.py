"""Capacity: closed-loop callers, by wrk if it is installed, else by the built-in generator."""

from http.client import HTTPConnection, HTTPException

import msgspec

from benchmarks.load import python, wrk
from benchmarks.load.python import LoadFailed
from benchmarks.load.spec import Load, Target


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of callers measured; latencies in microseconds."""

    requests_per_second: float
    requests: int
    failed: int
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    generator_cpu: float


def generator() -> str:
    """The generator of closed loops on this machine."""
    return "wrk -t1" if wrk.installed() else "own (asyncio, uvloop)"


def measure(target: Target, callers: int, seconds: float) -> Capacity:
    """Raises LoadFailed, also if an answer was not a 200."""
    capacity = (
        _by_wrk(target, callers, seconds) if wrk.installed() else _by_own(target, callers, seconds)
    )
    if capacity.failed or not capacity.requests:
        raise LoadFailed(f"{capacity.failed} of {capacity.requests} requests failed")
    return capacity


def _by_wrk(target: Target, callers: int, seconds: float) -> Capacity:
    figures, cpu = wrk.run(target, callers, seconds)
    return msgspec.convert({**figures, "generator_cpu": cpu}, Capacity)


def _by_own(target: Target, callers: int, seconds: float) -> Capacity:
    found = python.run(Load(target=target, seconds=seconds, connections=callers, warm_up=0.1))
    latency = found.good
    return Capacity(
        requests_per_second=round(latency.count / found.seconds, 1),
        requests=found.sent,
        failed=found.failed,
        p50_us=latency.at(0.5) / 1000,
        p90_us=latency.at(0.9) / 1000,
        p99_us=latency.at(0.99) / 1000,
        p999_us=latency.at(0.999) / 1000,
        max_us=latency.largest / 1000,
        generator_cpu=found.cpu_seconds,
    )


def ask(target: Target) -> tuple[int, bytes]:
    """Sends one request on a new connection; returns status and body. Raises LoadFailed."""
    connection = HTTPConnection(target.host, target.port, timeout=60)
    headers = ({"Content-Type": "application/json"} if target.body else {}) | target.headers
    try:
        method = "POST" if target.body else "GET"
        connection.request(method, target.path, target.body or None, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        raise LoadFailed(f"{target.host}:{target.port} does not answer: {error}") from error
    finally:
        connection.close()
