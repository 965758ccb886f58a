"""wrk: the closed-loop generator that costs less than the servers it calls.

The built-in generator is Python and costs more than predictd. What it adds to two servers would
hide their difference, so capacity is measured with wrk if it is installed. wrk's script prints the
results in one line at the end, in whole microseconds. wrk corrects its coordinated omission: after
a stall it adds the latencies that callers in that time would have seen.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.load.python import LoadFailed
from benchmarks.load.spec import Target

HINT = "wrk is not installed (it is a distribution package: apt-get install wrk)"

_DONE = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'measured {"requests": %d, "microseconds": %d, "failed": %d, "p50_us": %d, "p90_us": %d, ' ..
    '"p99_us": %d, "p999_us": %d, "max_us": %d}\\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), latency.max))
end
"""


def installed() -> bool:
    return shutil.which("wrk") is not None


def run(target: Target, callers: int, seconds: float) -> tuple[dict[str, float], float]:
    """Returns wrk's results and the CPU seconds that it used. Raises LoadFailed."""
    with tempfile.TemporaryDirectory(prefix="predictd-wrk-") as folder:
        lua = Path(folder) / "request.lua"
        lua.write_text(script(target))
        url = f"http://{target.host}:{target.port}{target.path}"
        command = [
            "wrk",
            "-t1",
            f"-c{callers}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            str(lua),
            url,
        ]
        before = _children_cpu()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        cpu = _children_cpu() - before
    if done.returncode:
        raise LoadFailed(f"wrk: {done.stderr.strip()[-500:]}")
    return parsed(done.stdout), cpu


def parsed(output: str) -> dict[str, float]:
    """The figures in wrk's output. Raises LoadFailed if there are none."""
    found = re.search(r"^measured (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise LoadFailed(f"wrk printed no figures: {output.strip()[-500:]}")
    figures = json.loads(found[1])
    seconds = figures.pop("microseconds") / 1e6
    return {"requests_per_second": round(figures["requests"] / seconds, 1), **figures}


def script(target: Target) -> str:
    """The Lua script with which wrk sends this request and prints its results."""
    lines = [f'wrk.method = "{"POST" if target.body else "GET"}"']
    headers = ({"Content-Type": "application/json"} if target.body else {}) | target.headers
    lines += [f"wrk.headers[{_quoted(k)}] = {_quoted(v)}" for k, v in headers.items()]
    if target.body:
        lines.append(f"wrk.body = {_quoted(target.body)}")
    return "\n".join(lines) + _DONE


def _quoted(text: str | bytes) -> str:
    """A Lua string of exactly these bytes."""
    raw = text.encode() if isinstance(text, str) else text
    return '"' + "".join(f"\\{byte:03d}" for byte in raw) + '"'


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system
