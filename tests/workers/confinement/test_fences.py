"""Fences: they hold the processes that are made behind them, and no others."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.other_user import run_as
from tests.support.skipping import not_here
from workers.confinement import fences, landlock
from workers.confinement.fences import Fence, behind

NOBODY = 12345
PROBE = """
import errno, os, signal, socket, sys
def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
print(
    outcome(lambda: socket.socket().bind(("127.0.0.1", int(sys.argv[2])))),
    outcome(lambda: socket.socket(socket.AF_INET6).bind(("::1", int(sys.argv[2])))),
    outcome(lambda: socket.socket().bind(("127.0.0.1", 0))),
    outcome(lambda: socket.socket(socket.AF_UNIX).connect("\\0" + sys.argv[1])),
    outcome(lambda: os.kill(os.getppid(), 0)),
)
"""


@pytest.fixture(autouse=True)
def fences_are_here() -> None:
    if why := fences.missing():
        not_here(why)
    if landlock.version() < 6:
        not_here("Landlock that knows of sockets and signals (Linux 6.12)")


def probed(fence: Fence | None, name: str) -> list[str]:
    """What a program behind the fence can do."""

    def run() -> str:
        command = ["/usr/bin/python3", "-c", PROBE, name, str(20_000 + os.getpid() % 10_000)]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout

    return (run() if fence is None else behind(fence).run(run)).split()


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_fence_refuses_ports_and_outside_processes(uid: int) -> None:
    """Behind `quiet` no TCP port is bound by number; behind both fences, abstract sockets and
    outside processes are unreachable. It needs no rights, and the calling process stays free."""
    if uid != os.geteuid() and os.geteuid() != 0:
        not_here("root, who can be another user")
    name = f"predictd-fence-{os.getpid()}-{uid}"

    def probe() -> object:
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind("\0" + name)
            abstract.listen(10)
            return {str(fence): probed(fence, name) for fence in ("quiet", "open", None)}

    assert run_as(uid, probe) == {
        "quiet": ["EACCES", "EACCES", "done", "EPERM", "EPERM"],
        "open": ["done", "done", "done", "EPERM", "EPERM"],
        "None": ["done", "done", "done", "done", "done"],
    }


def test_exception_behind_a_fence_is_raised_unchanged() -> None:
    """An exception is raised unchanged behind the fence, and the thread continues."""

    def fail() -> None:
        raise OSError(errno.E2BIG, "too many words")

    for _ in range(2):
        with pytest.raises(OSError, match="too many words"):
            behind("quiet").run(fail)
    assert behind("quiet").run(threading.current_thread).name == "fence quiet"


def test_process_started_behind_a_fence_ends_with_the_gateway() -> None:
    """A process that asked to end with its parent (gotcha G1) outlives the call that started it,
    and ends with the process of the thread."""
    gateway = """
import subprocess, sys, time
from workers.confinement.fences import behind
command = ["setpriv", "--pdeathsig", "KILL", "--", "sleep", "1000"]
child = behind("quiet").run(lambda: subprocess.Popen(command))
time.sleep(0.5)
print(child.pid, child.poll(), flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", gateway]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid, status = parent.stdout.readline().split()
        assert status == b"None"
        parent.kill()
    assert until_gone(int(pid), lambda: Path(f"/proc/{int(pid)}/stat").read_text())


def until_gone(pid: int, stat: Callable[[], str]) -> bool:
    """Whether it has ended, or is only to be reaped, within ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if stat().rpartition(")")[2].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False
