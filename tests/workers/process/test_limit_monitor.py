"""The watch finds what the kernel does not hold, and costs next to nothing."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.polling import until
from workers.cgroups import Leaf
from workers.limits import (
    Cause,
    CgroupCounters,
    ExitReason,
    Limits,
    explain_exit,
    throttling_note,
)
from workers.process.limit_monitor import LimitMonitor, MonitoredTree, rest_after, unlinked
from workers.process.usage import all_processes
from workers.sizes import MIB
from workers.untrusted_tree import measure

LIMITS = Limits(memory=64 * MIB, cpu=100, processes=512)


def monitored(
    pid: int, folder: Path, limits: Limits, told: list[ExitReason], base: int = 0
) -> MonitoredTree:
    return MonitoredTree(
        pid,
        leaf=Leaf((), "none"),
        limits=limits,
        folders=[folder],
        base=base,
        busy=lambda: False,
        exceeds=told.append,
    )


@pytest.fixture
def watch() -> Iterator[LimitMonitor]:
    watch = LimitMonitor(enforced=())
    yield watch
    watch.close()


def test_deleted_open_file_counts_for_the_disk_limit(tmp_path: Path) -> None:
    """A file that was deleted while open still counts."""
    with open(tmp_path / "gone", "wb") as gone:
        gone.write(b"x" * 100_000)
        gone.flush()
        device = tmp_path.stat().st_dev
        before = unlinked([os.getpid()], device)
        (tmp_path / "gone").unlink()
        assert unlinked([os.getpid()], device) - before >= 100_000


def test_disk_limit_is_enforced_by_the_monitor(tmp_path: Path, watch: LimitMonitor) -> None:
    """A tree that adds more than its limit to what was there is found within a moment; others are
    not affected."""
    told: list[ExitReason] = []
    (tmp_path / "code").write_bytes(b"x" * 300_000)
    base = measure(tmp_path)
    watch.begin(monitored(os.getpid(), tmp_path, Limits(disk=100_000), told, base))
    innocent: list[ExitReason] = []
    watch.begin(monitored(os.getpid(), tmp_path, Limits(disk=MIB), innocent, base))
    (tmp_path / "more").write_bytes(b"x" * 200_000)
    until(lambda: told)
    assert told[0].cause is Cause.DISK
    assert innocent == []


HOG = """
import os, threading, time
held = b"x" * (120 << 20)
for _ in range(20):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
if os.fork():
    os.wait()
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        (Limits(memory=100 * MIB), Cause.MEMORY),
        (Limits(processes=10), Cause.PROCESSES),
        # What two processes share counts once.
        (Limits(memory=200 * MIB, processes=100), None),
    ],
)
def test_monitor_measures_memory_and_processes_of_trees(
    tmp_path: Path, limits: Limits, cause: Cause | None
) -> None:
    """Without cgroups the memory and number of a process and its children are measured."""
    told: list[ExitReason] = []
    hog = subprocess.Popen([sys.executable, "-c", HOG], process_group=0)
    watch = LimitMonitor(enforced=())

    def look() -> list[ExitReason]:
        watch._check_trees()
        return told

    try:
        until(lambda: len(os.listdir(f"/proc/{hog.pid}/task")) > 20)
        watch.begin(monitored(hog.pid, tmp_path, limits, told))
        if cause is None:
            watch._check_trees()
            assert told == []
        else:  # at a look that does not come in the midst of the fork
            until(look)
            assert told[0].cause is cause
    finally:
        watch.close()
        os.killpg(hog.pid, 9)
        hog.wait()


def test_monitor_leaves_cgroup_limits_to_the_kernel(tmp_path: Path) -> None:
    """Where cgroups limit memory and processes, the monitor ends no tree for them."""
    told: list[ExitReason] = []
    watch = LimitMonitor(enforced=("memory", "cpu", "pids", "kill"))
    watch.begin(monitored(os.getpid(), tmp_path, Limits(memory=1, processes=1), told))
    watch._check_trees()
    watch.close()
    assert told == []


@given(st.lists(st.floats(1e-6, 10), min_size=1))
def test_monitor_uses_a_hundredth_of_the_time(looks: list[float]) -> None:
    """Measuring folders takes at most a hundredth of the time; a tree with very many files pays
    this itself, so the others are measured as often as if all were like them."""
    rests = [rest_after(took, sum(looks), len(looks)) for took in looks]
    assert sum(took / rest for took, rest in zip(looks, rests, strict=True)) < 1 / 98
    for took, rest in zip(looks, rests, strict=True):
        assert rest <= 2.01 * 99 * took * len(looks)
        assert rest <= 2.01 * 99 * sum(looks)


def test_large_tree_does_not_delay_a_small_one(tmp_path: Path, watch: LimitMonitor) -> None:
    """While a tree with many files pauses, a small one is measured again."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    for number in range(20_000):
        (large / f"{number}").touch()
    told: list[ExitReason] = []
    watch.begin(monitored(os.getpid(), large, Limits(disk=1 << 40), []))
    watch.begin(monitored(os.getpid(), small, Limits(disk=MIB), told))
    until(lambda: all(each.next_check for each in watch._trees.copy()))
    (small / "more").write_bytes(b"x" * 2 * MIB)
    until(lambda: told)
    [of_large] = [each for each in watch._trees.copy() if each.folders == [large]]
    assert of_large.next_check > time.monotonic()


VERDICTS = [
    (
        -9,
        CgroupCounters(memory_kills=1, met_own=True),
        "ran out of memory: its limit is 64 MiB",
        "memory",
    ),
    (
        -9,
        CgroupCounters(memory_kills=1),
        "was killed for its memory, since all models together reached their limit",
        "memory",
    ),
    (
        137,
        CgroupCounters(memory_kills=1, met_own=True),
        "ran out of memory: its limit is 64 MiB",
        "memory",
    ),
    (-9, CgroupCounters(), "was killed by SIGKILL", None),
    (
        1,
        CgroupCounters(memory_kills=1, met_own=True),
        "exited with status 1, after a process that it had started ran out of memory",
        None,
    ),
    (
        1,
        CgroupCounters(forks_refused=3),
        "exited with status 1, after its limit of 512 processes and threads was reached",
        "processes",
    ),
    (0, CgroupCounters(forks_refused=3), "exited with status 0", None),
]


@pytest.mark.parametrize(("status", "counters", "said", "cause"), VERDICTS)
def test_cause_of_an_end_follows_the_counters(
    status: int, counters: CgroupCounters, said: str, cause: str | None
) -> None:
    """The cause of an end follows from the counters, not from the exit status alone."""
    plain = "was killed by SIGKILL" if status < 0 else f"exited with status {status}"
    verdict = explain_exit(status, plain, counters, LIMITS)
    assert (verdict.text, verdict.cause and verdict.cause.value) == (said, cause)


def test_time_out_is_the_cpu_limits_above_a_quarter() -> None:
    """A time-out is attributed to the CPU limit where throttling took a quarter of the time, and
    else not."""
    assert throttling_note(30.0, 27.0, LIMITS) == "its limit of 0.1 CPU delayed it by 27 s"
    assert throttling_note(30.0, 5.0, LIMITS) == ""
    assert throttling_note(30.0, 27.0, Limits()) == ""


def test_memory_of_a_tree_is_that_of_its_processes(tmp_path: Path) -> None:
    """Without cgroups the memory of a tree is that of the process and all below it, and of no
    others."""
    hog = (
        "import os, time; os.fork(); hoard = b'x' * (40 << 20); sum(range(3_000_000))\n"
        "print(1, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hog], stdout=subprocess.PIPE, process_group=0
    ) as process:
        try:
            assert process.stdout is not None
            for _ in range(2):
                process.stdout.readline()
            one = monitored(process.pid, tmp_path, LIMITS, [])
            taken = one.usage(all_processes())
            assert 80 * MIB <= taken.memory <= 200 * MIB
            assert taken.cpu > 0
        finally:
            os.killpg(process.pid, 9)
    assert one.usage(all_processes()).memory == 0
