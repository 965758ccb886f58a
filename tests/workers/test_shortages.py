"""The machine runs out of descriptors, threads, processes or memory: it costs the start that met
it, which is tried again; no other replica, and not the gateway."""

import math
import os
import select
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from tests.faults.matrix import fault
from tests.support.process_host import open_host
from tests.support.reactor_stage import REPLICA, Stage
from tests.workers.shortfall import NO_MEMORY, Shortfall
from tests.workers.test_workers import Harness, ask, environment, open_harness, our_descriptors
from workers import StartFailed, shortages
from workers.cgroups import Cgroups, Leaf
from workers.confinement import Confinement, Launch, LevelChoice
from workers.kernel_limits import explain
from workers.limits import Limits
from workers.log import Log
from workers.process.limit_monitor import LimitMonitor, MonitoredTree
from workers.process.output import Output
from workers.process.process import pipe
from workers.process.tree import ProcessTree
from workers.replica.interfaces import Check
from workers.replica.replica import Replica
from workers.replica.supervisor import supervise
from workers.retry_pauses import RetryPauses

__all__ = ["environment"]
ECHO = {"do": "echo", "text": "x"}


@pytest.fixture
def shortfall(monkeypatch: pytest.MonkeyPatch) -> Shortfall:
    return Shortfall(monkeypatch)


@pytest.fixture
async def harness(tmp_path: Path, environment: Path) -> AsyncIterator[Harness]:
    """Workers that retry soon, of which no process, descriptor or working copy may be left."""
    before = our_descriptors()
    soon = RetryPauses(backoff_first=0.002, retry_first=0.002)
    async with open_harness(tmp_path, environment, timeouts=soon) as harness:
        yield harness
    assert our_descriptors() <= before


@fault(
    "no descriptors, threads, processes or memory at any moment of a replica's life",
    injection="each call of ours that takes one fails three times, place by place",
    bound="the pool says why, tries again and serves; others go on; nothing is left",
)
async def test_start_survives_the_failure_of_any_call(
    harness: Harness, shortfall: Shortfall
) -> None:
    """If any call of a replica's life fails repeatedly, from its start to its removal, the pool
    retries and serves, another model still answers, and nothing is left."""
    steady = await harness.serve("badly", "behave")
    while True:
        with shortfall.at_next_site(times=3):
            pool = await harness.serve("badly", "behave", start_tries=0)
            assert await ask(pool, ECHO) == ECHO
            pool.stop()
            with trio.fail_after(20):
                await pool.closed.wait()
        assert await ask(steady, ECHO) == ECHO
        if not shortfall.hit:
            break
    calls = {site.call for site in shortfall.failed}
    assert calls >= {"open", "pipe2", "pidfd_open", "listdir", "mkdir", "_fork_exec"}
    assert calls >= {"run_sync", "register", "wait_readable"}


@fault(
    "the same while a script is run",
    injection="each call fails, place by place",
    bound="an error that says so, or a script that ran; nothing is left",
)
async def test_script_survives_the_failure_of_any_call(
    harness: Harness, shortfall: Shortfall, tmp_path: Path
) -> None:
    """If any call fails while a script runs, it raises OSError or the script has run; no process or
    file of it is left."""
    log = LineList()
    while True:
        outcome: object = None
        with shortfall.at_next_site(times=1):
            try:
                outcome = await harness.workers.run(
                    ["/bin/true"],
                    cwd=tmp_path,
                    variables={},
                    log=log,
                    time_limit=20,
                    limits=Limits(disk=1 << 20),
                )
            except OSError as error:
                outcome = error
        assert outcome == 0 or (shortfall.hit and shortages.is_shortage(outcome))  # type: ignore[arg-type]
        if not shortfall.hit:
            break
    assert {"run_sync", "_fork_exec", "pipe2"} <= {site.call for site in shortfall.failed}


class LineList:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)


class FailingConfinement(Confinement):
    """Launches nothing: the first `times` launches raise `error`."""

    def __init__(self, folder: Path, error: Exception, times: float = math.inf) -> None:
        super().__init__(LevelChoice("none", {}), folder)
        self.launches = 0
        self._error = error
        self._times = times

    def launch(self, *args: Any, **named: Any) -> Launch:
        self.launches += 1
        if self.launches <= self._times:
            raise self._error
        return super().launch(*args, **named)


async def test_start_that_keeps_failing_names_the_limit(tmp_path: Path, environment: Path) -> None:
    """A new pool gives up after its tries, with the limit that was met and how to raise it."""
    failing = FailingConfinement(tmp_path, OSError(24, "Too many open files"))
    async with open_harness(tmp_path, environment, confinement=failing) as harness:
        pool = harness.workers.open_pool(harness.spec("badly", "behave", start_tries=2))
        with trio.fail_after(20), pytest.raises(StartFailed) as failed:
            await pool.wait_ready()
        await pool.closed.wait()
    assert "no more descriptors" in failed.value.summary
    assert "RLIMIT_NOFILE" in failed.value.summary
    assert "`ulimit -n`" in failed.value.summary
    assert "could not be started" in pool.statistics().slots[0].last_exit


async def test_unexpected_error_of_a_supervisor_costs_one_start(
    tmp_path: Path, environment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is logged with its traceback; the pool retries the start."""
    failing = FailingConfinement(tmp_path, AssertionError("a mistake"), times=1)
    async with open_harness(tmp_path, environment, confinement=failing) as harness:
        pool = await harness.serve("badly", "behave")
        assert await ask(pool, ECHO) == ECHO
    assert failing.launches == 2
    assert "a mistake" in caplog.text


class StuckLeaf(Leaf):
    """The kernel has no memory for its removal. `tried` is set after the first attempt."""

    def __init__(self) -> None:
        super().__init__((), "stuck")
        self.tried = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def remove(self, *, seconds: float = 1.0) -> None:
        if not self.tried.is_set():
            self._token.run_sync_soon(self.tried.set)
        raise MemoryError


class StuckCgroups(Cgroups):
    def __init__(self) -> None:
        super().__init__()
        self.stuck = StuckLeaf()

    def leaf(self, name: str) -> Leaf:
        return self.stuck


class Owner:
    """Records that the replica was reported as cleaned."""

    check_answer: Check | None = None
    cleaned = False

    def replica_ready(self, replica: Replica) -> None: ...
    def replica_settled(self, replica: Replica, *rest: Any) -> None: ...
    def replica_tracked(self, body: bytes | bytearray) -> None: ...
    def replica_leaving(self, replica: Replica) -> None: ...
    def replica_gone(self, replica: Replica) -> None: ...

    def replica_cleaned(self, replica: Replica) -> None:
        self.cleaned = True


async def test_working_copy_is_removed_when_its_cgroup_cannot_be(tmp_path: Path) -> None:
    """If the gateway ends while a cgroup cannot be removed, no working copy is left."""
    cgroups = StuckCgroups()
    code, folder, owner = tmp_path / "code", tmp_path / "copy", Owner()
    code.mkdir()
    stage = Stage()
    spec = msgspec.structs.replace(REPLICA, code=code)
    replica = Replica("r", spec, stage.reactor, owner)
    with open_host(tmp_path / "confinement", "test-stuck") as open_one:
        host = msgspec.structs.replace(
            open_one,
            cgroups=cgroups,
            confinement=FailingConfinement(tmp_path, OSError(2, "no such file")),
            timeouts=RetryPauses(retry_first=3600, retry_most=3600),
        )
        async with trio.open_nursery() as nursery:
            work = partial(supervise, replica, log=Log(tmp_path / "log"), host=host)
            threads = trio.CapacityLimiter(1)
            nursery.start_soon(partial(work, folder=folder, threads=threads))
            await cgroups.stuck.tried.wait()
            assert folder.exists()
            nursery.cancel_scope.cancel()
    stage.close()
    assert owner.cleaned
    assert not folder.exists()


async def test_tree_without_a_cgroup_has_none_to_remove(tmp_path: Path) -> None:
    """A start that fails before its cgroup is made does not wait for the removal of one."""
    with open_host(tmp_path / "confinement", "test-none") as open_one:
        host = msgspec.structs.replace(
            open_one,
            cgroups=StuckCgroups(),
            timeouts=RetryPauses(retry_first=3600, retry_most=3600),
        )
        tree = ProcessTree(host, "script", Limits(), [tmp_path])
        with trio.fail_after(20):
            await tree.remove()


class Stubborn:
    """An epoll that takes nothing while `full`."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self.full = True

    def register(self, fd: int, events: int) -> None:
        if self.full:
            raise NO_MEMORY
        self._epoll.register(fd, events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


def test_pipe_that_epoll_refuses_is_read_later(until: Callable[..., None]) -> None:
    """A pipe that epoll refuses for lack of memory does not block its writer, and is read again
    later."""
    output, lines = Output(), list[str]()
    epoll = Stubborn(output._epoll)
    output._epoll = epoll  # type: ignore[assignment]
    read, write = pipe()
    try:
        output.attach(read, lines.extend)
        os.write(write, b"x" * 65_000)
        os.write(write, b"x" * 65_000)  # has room, since what was there was taken
        epoll.full = False
        until(lambda: any("dropped" in line for line in lines))

        def is_read() -> bool:
            os.write(write, b"\nseen\n")
            return "seen" in lines

        until(is_read)
    finally:
        os.close(write)
        output.close()


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], bool]) -> None:
        changed = threading.Event()
        for _ in range(2000):
            if condition():
                return
            changed.wait(0.01)
        raise AssertionError("not within 20 s")

    return wait


def test_limit_monitor_survives_a_failed_check(until: Callable[..., None]) -> None:
    """A check that fails is made again an interval later, by the same thread."""
    checks = list[int]()

    def busy() -> bool:
        checks.append(1)
        if len(checks) < 3:
            raise OSError(24, "Too many open files")
        return False

    monitor = LimitMonitor((), interval=0.005)
    monitor.begin(
        MonitoredTree(
            0, leaf=Leaf((), "none"), limits=Limits(), folders=[], base=0, busy=busy, exceeds=print
        )
    )
    try:
        until(lambda: len(checks) > 4)
    finally:
        monitor.close()


async def test_surely_retries_and_makes_a_last_attempt_when_cancelled() -> None:
    """Work that must be done is retried; when cancelled in between, it is attempted at once."""
    late = RetryPauses(retry_first=3600, retry_most=3600)
    done = list[str]()
    tried = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def work() -> None:
        done.append(threading.current_thread().name)
        if len(done) == 1:
            token.run_sync_soon(tried.set)
            raise MemoryError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(shortages.surely, work, timeouts=late))
        await tried.wait()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(done) == 2
    assert done[1] == threading.main_thread().name


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "x"), "descriptors"),
        (OSError(23, "x"), "descriptors"),
        (BlockingIOError(11, "x"), "processes or threads"),
        (RuntimeError("can't start new thread"), "processes or threads"),
        (OSError(12, "x"), "memory"),
        (MemoryError(), "memory"),
    ],
)
def test_every_shortage_names_its_limit(error: Exception, said: str) -> None:
    """The explanation names the limit that was met and how to raise it."""
    assert shortages.is_shortage(error)
    assert said in explain(error)
    assert not shortages.is_shortage(OSError(2, "x"))
    assert explain(OSError(2, "x")) == "[Errno 2] x"
