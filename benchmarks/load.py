"""The load: closed-loop callers on asyncio and uvloop, in a process of their own.

`python -m benchmarks.load HOST PORT CALLERS SECONDS` reads one request body from stdin, checks the
first answer, warms up, then prints one JSON line: requests, seconds, and latencies in microseconds.
Closed-loop means that a caller sends when it has its answer; it measures capacity and the latency
of an unhurried client, and hides queueing.
"""

import asyncio
import json
import sys
import time

import uvloop

WARM_UP = 200


async def caller(host: str, port: int, request: bytes, until: float, seen: list[int]) -> None:
    """Calls over one connection until the clock reads `until`."""
    reader, writer = await asyncio.open_connection(host, port)
    while time.monotonic() < until:
        began = time.perf_counter_ns()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        seen.append(time.perf_counter_ns() - began)
    writer.close()


async def run(host: str, port: int, callers: int, seconds: float, body: bytes) -> dict[str, float]:
    head = f"POST /model HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    await caller(host, port, request, time.monotonic() + 0.5, [])
    seen: list[int] = []
    began = time.monotonic()
    calls = [caller(host, port, request, began + seconds, seen) for _ in range(callers)]
    await asyncio.gather(*calls)
    took = time.monotonic() - began
    seen.sort()

    def at(share: float) -> float:
        return round(seen[min(len(seen) - 1, int(len(seen) * share))] / 1000, 1)

    return {
        "requests_per_second": round(len(seen) / took),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "requests": len(seen),
    }


if __name__ == "__main__":
    host, port, callers, seconds = sys.argv[1:]
    body = sys.stdin.buffer.read()
    measured = run(host, int(port), int(callers), float(seconds), body)
    print(json.dumps(uvloop.run(measured)))
