"""The wall clock jumps by an hour, forth and back: nothing that has a limit in seconds notices."""

import platform
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from gateway.client import Json
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    Prober,
    Reply,
    at,
    write,
)

WAITS = """\
import time


def wait(args):
    if args.get("said") != "-":
        print("said", args.get("said"))
    time.sleep(args.get("seconds", 0))
    return args
"""
SOURCE = Path(__file__).parent / "wrong_clock.c"
# The number of the system call.
CLOCK_GETTIME = {"x86_64": 228, "aarch64": 113}
# For so long a request may wait, or run.
LIMIT = 2.0


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file that says by how many seconds the clock of a gateway that maps it is wrong."""
    path = tmp_path / "clock"
    path.write_bytes(bytes(8))
    return path


@pytest.fixture
def gateway(tmp_path: Path, clock: Path) -> Iterator[Gateway]:
    """A gateway with such a clock; the monotonic one is right."""
    number, compiler = CLOCK_GETTIME.get(platform.machine()), shutil.which("cc")
    if number is None or compiler is None:
        pytest.skip("a wrong clock takes a C compiler, on x86-64 or ARM64")
    library = tmp_path / "wrong_clock.so"
    flags = ["-shared", "-fPIC", "-nostdlib", "-fno-builtin", f"-DCLOCK_GETTIME={number}L"]
    subprocess.run([compiler, *flags, "-o", library, SOURCE], check=True)
    (tmp_path / "gates").mkdir()
    gateway = Gateway(
        tmp_path / "data", model_request_timeout=str(LIMIT), shared_folders=str(tmp_path / "gates")
    )
    gateway.wrapper = ["env", f"LD_PRELOAD={library}", f"WRONG_CLOCK={clock}"]
    with gateway:
        yield gateway


def jump(gateway: Gateway, clock: Path, hours: int) -> None:
    """Sets the gateway's clock, and returns when the gateway has it."""
    with clock.open("r+b", buffering=0) as file:
        file.write(struct.pack("l", hours * 3600))
    until(lambda: abs(ahead(gateway) - hours * 3600) < 600)


def ahead(gateway: Gateway) -> float:
    """By how many seconds the gateway's clock is ahead, as it says itself in its answers."""
    told = gateway.post("{}").headers["date"]
    return parsedate_to_datetime(told).timestamp() - time.time()


def timed(gateway: Gateway, model: Json, told: list[tuple[Reply, float]]) -> threading.Thread:
    """A prediction that never ends by itself, on its way; what comes of it is `told`, with how
    long it took."""

    def call() -> None:
        began = time.monotonic()
        reply = gateway.call(model, {"seconds": 3600})
        told.append((reply, time.monotonic() - began))

    thread = threading.Thread(target=call)
    thread.start()
    return thread


def busy(gateway: Gateway, model: Json) -> bool:
    replicas = gateway.client.get(f"{at(model)}/replicas")["replicas"]
    return any(replica["status"] == "busy" for replica in replicas)


def said(gateway: Gateway) -> list[str]:
    """The numbers that the model was called with, in the order of its log."""
    lines = gateway.cli("logs", "wait", "--tail", "2000").out.splitlines()
    return [line.rpartition(" said ")[2] for line in lines if " said " in line]


def wait_said(gateway: Gateway, number: int) -> None:
    until(lambda: str(number) in said(gateway))


@fault(
    "the wall clock jumps",
    injection="an hour forth and back",
    bound="limits, builds and the log's order are as before",
)
def test_clock_jumps_change_no_deadline_or_order(
    gateway: Gateway, tmp_path: Path, clock: Path
) -> None:
    """While the clock jumps, a prediction that runs too long ends at its limit and not before,
    requests behind it are served, a build continues, and the log keeps its order."""
    model = gateway.serve(
        write(tmp_path / "waits", {"waits.py": WAITS}), "waits.py", "wait", replicas=2
    )
    gate = tmp_path / "gates" / "gate"
    slow = {"waits.py": WAITS, "cdsw-build.sh": f"until [ -e {gate} ]; do sleep 0.05; done\n"}
    building = gateway.model(gateway.project(write(tmp_path / "slow", slow)), "slow")
    wish = {"file_path": "waits.py", "function_name": "wait"}
    build = gateway.client.post(f"{at(building)}/builds", wish)
    with Prober(gateway, [model], {"said": "-"}).running(pause=0.02):
        for number, hours in enumerate((1, -1, 0)):
            told: list[tuple[Reply, float]] = []
            caller = timed(gateway, model, told)
            until(lambda: busy(gateway, model))
            jump(gateway, clock, hours)
            caller.join()
            ((reply, took),) = told
            assert (reply.status, reply.body["error"]["code"]) == (504, "model.timeout")
            assert LIMIT * 0.9 < took < LIMIT + 5
            assert gateway.call(model, {"said": number}).status == 200
            wait_said(gateway, number)
    gate.touch()
    assert gateway.finished(build, f"{at(building)}/builds")["status"] == "built"


def test_replica_log_keeps_its_order_over_clock_jumps(
    gateway: Gateway, tmp_path: Path, clock: Path
) -> None:
    """The lines of a replica have the order in which it printed them, also if the clock jumps."""
    model = gateway.serve(write(tmp_path / "waits", {"waits.py": WAITS}), "waits.py", "wait")
    for number, hours in enumerate((1, -1, 0)):
        assert gateway.call(model, {"said": number}).status == 200
        # The clock must not jump before the line has its time.
        wait_said(gateway, number)
        jump(gateway, clock, hours)
    assert gateway.call(model, {"said": 3}).status == 200
    until(lambda: len(said(gateway)) == 4)
    assert said(gateway) == ["0", "1", "2", "3"]
