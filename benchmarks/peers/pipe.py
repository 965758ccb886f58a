"""The floor of isolation: a request and a reply over two pipes to a process of Python, or of R.

There is no HTTP, JSON or framing, and both sides block in read. No server that runs the function in
a separate process is faster than this and HTTP together. Both sides share one core: on two, waking
the other side costs ten times the rest on a quiet virtual machine. A floor is the best possible
time, not the time of one run.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

REQUEST = b'{"a":3,"b":5}'
WARM_UP = 1_000

_ECHO = """
import os
while request := os.read(0, 65536):
    os.write(1, b"8")
"""
_ECHO_OF_R = """
inlet <- file("/proc/self/fd/0", "rb", raw = TRUE)
outlet <- file("/proc/self/fd/1", "wb", raw = TRUE)
reply <- charToRaw("8")
echo <- function() while (length(readBin(inlet, "raw", 13L))) {
    writeBin(reply, outlet)
    flush(outlet)
}
echo()
"""
PYTHON = (sys.executable, "-I", "-S", "-c", _ECHO)
R = ("Rscript", "--vanilla", "-e", _ECHO_OF_R)


@dataclass(frozen=True)
class RoundTrips:
    """Percentiles of round trips, in microseconds."""

    count: int
    p50: float
    p99: float
    p999: float


def pipe_round_trips(seconds: float, command: Sequence[str] = PYTHON) -> RoundTrips:
    """Measures round trips, one after the other, for this time, without the first WARM_UP."""
    seen: list[int] = []
    with (
        _on_one_core(),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        there, back = process.stdin.fileno(), process.stdout.fileno()
        for _ in range(WARM_UP):
            _round_trip(there, back)
        until = time.perf_counter_ns() + int(seconds * 1e9)
        ended = 0
        while ended < until:
            began = time.perf_counter_ns()
            _round_trip(there, back)
            ended = time.perf_counter_ns()
            seen.append(ended - began)
        process.stdin.close()
    seen.sort()
    p50, p99, p999 = (seen[int(len(seen) * share)] / 1000 for share in (0.5, 0.99, 0.999))
    return RoundTrips(count=len(seen), p50=p50, p99=p99, p999=p999)


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Keeps this thread, and the processes that it starts in the block, on one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _round_trip(there: int, back: int) -> None:
    os.write(there, REQUEST)
    if os.read(back, 65536) != b"8":
        raise RuntimeError("the process at the other end of the pipe is gone")
