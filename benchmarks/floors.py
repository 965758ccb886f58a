"""The floor of isolation: one round trip over pipes to a Python process that answers at once.

No server that gives the function a process of its own can be quicker than this and HTTP together.
"""

import os
import subprocess
import sys
import time
from statistics import median

_ECHO = "import os\nwhile data := os.read(0, 65536): os.write(1, data)"
_FRAME = b"\x00" * 8 + b'{"a":3,"b":5}'


def pipe_round_trip(seconds: float) -> float:
    """Its p50 in microseconds."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        there, back = process.stdin.fileno(), process.stdout.fileno()
        seen: list[int] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter_ns()
            os.write(there, _FRAME)
            os.read(back, 65536)
            seen.append(time.perf_counter_ns() - began)
        process.stdin.close()
    return median(seen) / 1000
