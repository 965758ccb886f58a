"""The facts about the machine and its other work, without which a number has no meaning."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.load import closed, wrk
from benchmarks.report import gate

PACKAGES = ("trio", "hypercorn", "quart-trio", "httptools", "msgspec", "uvloop")
# The largest share of the machine that other work may use: beyond it, figures measure that work.
BUSY = 0.05
ROOT = Path(__file__).parents[1]

CAVEATS = (
    "Load generator, gateway and replicas share this machine's cores: on a machine of their own "
    "the servers would carry more.",
    "Compare ratios of one run. A number from another run, another machine or another day means "
    "nothing here.",
    "Everything is on loopback; a network adds its own time to all contenders alike.",
    "Waking an idle core takes a virtual machine tens of microseconds. Whether a request pays for "
    "that depends on where the scheduler puts those who take part, most of all with one caller.",
    "The function is trivial on purpose: what is measured is what a server adds to it. A model "
    "that computes for 10 ms hides all of this.",
)


def facts() -> dict[str, str]:
    """The facts by name, in the order in which they are shown."""
    processor = _processor()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _commit(),
        "processor": processor,
        "cores": str(len(os.sched_getaffinity(0))),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual": "yes" if "hypervisor" in _first_line("/proc/cpuinfo", "flags").split() else "no",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        gate.GENERATOR: closed.generator(),
        "open-loop generator": "own (asyncio, uvloop)",
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
    }


def caveats(*, quick: bool, neighbours: float) -> list[str]:
    """What to know before reading a number of a run; `neighbours` is the share of other work."""
    told = list(CAVEATS)
    if quick:
        told.insert(0, "A quick run: it shows that all works, and its numbers are rough.")
    if neighbours > BUSY:
        told.insert(
            0,
            "The machine had other work to do meanwhile, as told below: do not use these numbers.",
        )
    if not wrk.installed():
        told.insert(
            0,
            f"{wrk.HINT}, so our own generator measured capacity. It costs more than a quick "
            "server: ratios between servers come out too small.",
        )
    return told


class Neighbours:
    """Measures other work from now on: other processes, and other machines of the same host."""

    def __init__(self) -> None:
        self._before = self._look()

    def share(self) -> float:
        """The share of all cores' time that other work used."""
        wall, busy, ours = (
            now - then for now, then in zip(self._look(), self._before, strict=True)
        )
        return max(0.0, busy - ours) / wall if wall else 0.0

    def _look(self) -> tuple[float, float, float]:
        """All time, busy time, and the time of this process and its children that have ended."""
        times = psutil.cpu_times()
        wall = sum(times) - times.guest - times.guest_nice
        return wall, wall - times.idle - times.iowait, sum(os.times()[:4])


def command(arguments: list[str]) -> str:
    """The command that repeats this run."""
    return " ".join([Path(sys.executable).name, "-m", "benchmarks", *arguments])


def _processor() -> str:
    return _first_line("/proc/cpuinfo", "model name") or platform.machine()


def _first_line(path: str, beginning: str = "") -> str:
    """The value of the first line with this beginning; "" if there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return "unknown" if not beginning else ""
    found = next((line for line in lines if line.startswith(beginning)), "")
    return found.partition(":")[2].strip() if beginning else found.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _commit() -> str:
    if shutil.which("git") is None:
        return "unknown"
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
