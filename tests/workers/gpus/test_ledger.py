"""The ledger, with real processes: what lives keeps its GPUs, also past a `kill -9`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.matrix import fault
from workers.gpus.ledger import Holder, Ledger
from workers.process.process import MARK, kill_tree, marked

PREFIX = f"ledger-{os.getpid()}/"
PATIENCE = 10.0


def _begin(mark: str) -> subprocess.Popen[bytes]:
    """A process of a tree."""
    return subprocess.Popen(["sleep", "60"], env={MARK: mark}, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    kill_tree(PREFIX)


def test_gpu_is_held_until_the_last_process_is_dead(tmp_path: Path) -> None:
    """A tree that has ended gives its GPUs back when no process of it lives, and not before."""
    ledger = Ledger(tmp_path / "gpus", marked)
    mark = f"{PREFIX}one/"
    ledger.assign(["GPU-1", "GPU-2"], Holder(mark, "iris"))
    ledger.forget_dead()
    assert len(ledger.holders) == 2, "it has no process yet"
    first, second = _begin(mark), _begin(mark)
    ledger.end(mark)
    _end(first)
    ledger.forget_dead()
    assert ledger.holders == dict.fromkeys(["GPU-1", "GPU-2"], Holder(mark, "iris"))
    assert ledger.is_ended("GPU-1")
    _end(second)
    ledger.forget_dead()
    assert ledger.holders == {}
    assert Ledger(tmp_path / "gpus", marked).holders == {}


GATEWAY = """
import subprocess, sys, time
from pathlib import Path
from workers.gpus.ledger import Holder, Ledger
from workers.process.process import MARK, marked
ledger = Ledger(Path(sys.argv[1]), marked)
ledger.recover(sys.argv[2])
for name in ("dead", "lives"):
    mark = f"{sys.argv[2]}{name}/"
    ledger.assign([f"GPU-{name}"], Holder(mark, name))
    # The one that lives outlives its gateway.
    command = ["sleep", "60"] if name == "lives" else ["true"]
    subprocess.Popen(command, env={MARK: mark}, start_new_session=True)
print("held", flush=True)
time.sleep(60)
"""


def _kill_gateway(record: Path) -> None:
    """Begins a gateway that assigns two GPUs, and kills it with -9."""
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(record), PREFIX], stdout=subprocess.PIPE
    )
    assert gateway.stdout is not None
    assert gateway.stdout.readline() == b"held\n"
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.wait()
    gateway.stdout.close()


def _wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


@fault(
    "kill -9 of a gateway whose processes hold GPUs",
    injection="SIGKILL to the gateway, while a process of it lives on",
    bound="the living keeps its GPU, the dead one's is free",
)
def test_living_process_keeps_its_gpu_past_a_kill_of_the_gateway(tmp_path: Path) -> None:
    """After a `kill -9` of the gateway the next one frees what the dead held, and only that."""
    record = tmp_path / "gpus"
    _kill_gateway(record)
    ledger = Ledger(record, marked)
    ledger.recover(PREFIX)
    assert {uuid: each.name for uuid, each in ledger.holders.items()} == {"GPU-lives": "lives"}
    assert not ledger.is_unknown()
    assert kill_tree(PREFIX) == 1
    ledger.forget_dead()
    assert ledger.holders == {}


@pytest.mark.parametrize("content", [None, "", "not JSON", '{"GPU-1": 3}', "\0" * 300_000])
def test_without_a_record_survivors_hold_all(tmp_path: Path, content: str | None) -> None:
    """If the record is missing or damaged, a process that survives may hold any GPU."""
    record = tmp_path / "gpus"
    _kill_gateway(record)
    record.unlink()
    if content is not None:
        record.write_text(content)
    ledger = Ledger(record, marked)
    ledger.recover(PREFIX)
    assert ledger.holders == {}
    assert ledger.is_unknown()
    # Processes of the new gateway do not count.
    own = _begin(f"{PREFIX}new/")
    for pid in set(marked(PREFIX)) - {own.pid}:
        os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: not ledger.is_unknown())
    assert marked(PREFIX) == [own.pid]
    _end(own)


def test_first_start_knows_that_nothing_is_held(tmp_path: Path) -> None:
    """Without a record and without survivors all GPUs are free."""
    ledger = Ledger(tmp_path / "gpus", marked)
    ledger.recover(PREFIX)
    assert (ledger.holders, ledger.is_unknown()) == ({}, False)


def test_record_that_cannot_be_written_is_removed(tmp_path: Path) -> None:
    """A record that would be wrong is removed, and the ledger in memory is right all the same."""
    record = tmp_path / "gpus"
    ledger = Ledger(record, marked)
    ledger.assign(["GPU-2"], Holder(f"{PREFIX}two/", "churn"))
    assert record.exists()
    (tmp_path / "gpus.new").mkdir()
    ledger.assign(["GPU-1"], Holder(f"{PREFIX}one/", "iris"))
    assert ledger.holders["GPU-1"].name == "iris"
    assert not record.exists()
