"""A script runs to its end, or to ours, and nothing of it is left."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import trio

from tests.faults.matrix import fault
from tests.support.process_host import open_host
from workers.limits import Limits
from workers.process.command import run_command
from workers.process.process import kill_tree, marked
from workers.process.tree import ProcessTree

Run = Callable[..., Awaitable[int]]


class Lines(list[str]):
    """A log that is a list."""

    def write(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def log() -> Lines:
    return Lines()


@pytest.fixture
def instance_id(tmp_path: Path) -> str:
    return f"test-{os.getpid()}-{tmp_path.name}"


@pytest.fixture
async def run(tmp_path: Path, log: Lines, instance_id: str) -> AsyncIterator[Run]:
    """`run(script, time_limit)`; at the end no process of it may be left."""
    with open_host(tmp_path, instance_id) as host:

        async def run(script: str, time_limit: float = 20.0) -> int:
            ended = await run_command(
                ProcessTree(host, "script", Limits(processes=100), (tmp_path,)),
                ["/bin/bash", "-c", script],
                cwd=tmp_path,
                variables={"PATH": "/usr/bin:/bin"},
                view=None,
                log=log,
                time_limit=time_limit,
            )
            return ended.status

        yield run
        left = marked(instance_id)
        kill_tree(instance_id)
    assert left == []


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
async def test_exit_status_is_the_scripts(run: Run, script: str, status: int) -> None:
    """The exit status of the script is returned, negative for a signal."""
    assert await run(script) == status


async def test_output_keeps_its_order(run: Run, log: Lines) -> None:
    """stdout and stderr come in the order in which they were printed, all before the return."""
    await run("for i in $(seq 500); do echo out $i; echo err $i >&2; done; printf last")
    pairs = [line for number in range(1, 501) for line in (f"out {number}", f"err {number}")]
    assert log == [*pairs, "last"]


async def test_script_has_no_input(run: Run, log: Lines) -> None:
    """A script that reads finds the end of its input instead of waiting for ever."""
    assert await run("read answer || echo no input") == 0
    assert log == ["no input"]


async def test_script_past_its_time_is_killed(run: Run, log: Lines) -> None:
    """A script past its time raises TimeoutError; the whole tree is dead and its output kept."""
    with pytest.raises(TimeoutError, match=r"0\.3 s"), trio.fail_after(10):
        await run("echo begun; trap '' TERM; setsid sleep 1000 & sleep 1000", 0.3)
    assert log == ["begun"]


async def test_cancelled_script_is_killed(run: Run, log: Lines, instance_id: str) -> None:
    """A cancelled script has no survivor when its caller continues."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "echo begun; setsid sleep 1000 & sleep 1000")
        with trio.fail_after(10):
            while not log:  # noqa: ASYNC110 - the output thread makes it true
                await trio.sleep(0.005)
        nursery.cancel_scope.cancel()
    assert marked(instance_id) == []


@fault(
    "a script that leaves processes",
    injection="children in sessions of their own",
    bound="none is left",
)
async def test_background_child_of_a_script_is_killed(run: Run, instance_id: str) -> None:
    """A child in the background neither delays the end of its script nor survives it."""
    with trio.fail_after(10):
        assert await run("nohup setsid sleep 1000 & exit 4") == 4
    assert marked(instance_id) == []


@pytest.mark.parametrize(("end", "time_limit"), [("exit 4", 20.0), ("sleep 1000", 0.3)])
async def test_child_of_a_script_without_the_mark_is_killed(
    run: Run, tmp_path: Path, end: str, time_limit: float
) -> None:
    """A child with an environment of its own does not survive its script, unless it has left its
    process group as well."""
    with suppress(TimeoutError), trio.fail_after(10):
        begin = (
            "env -i /bin/sleep 1000 & echo $! > child; until grep sleep /proc/$!/comm; do :; done"
        )
        await run(f"{begin}; {end}", time_limit)
    child = int((tmp_path / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


async def test_what_cannot_be_started_raises(tmp_path: Path, log: Lines, instance_id: str) -> None:
    """A folder that is not there is an OSError, and leaves no descriptor."""
    before = os.listdir("/proc/self/fd")
    with open_host(tmp_path, instance_id) as host, pytest.raises(FileNotFoundError):
        await run_command(
            ProcessTree(host, "script", Limits(), (tmp_path,)),
            ["true"], cwd=tmp_path / "nowhere", variables={}, view=None, log=log, time_limit=1.0,
        )  # fmt: skip
    assert os.listdir("/proc/self/fd") == before


async def test_process_limit_without_cgroups_is_kept_by_the_monitor(run: Run, log: Lines) -> None:
    """Where the kernel does not count the processes of a script, the limit monitor does, and says
    so."""
    assert await run("for i in $(seq 200); do sleep 600 & done; wait") == -9
    assert log[-1] == (
        "[predictd] the script was ended because its limit of 100 processes and threads was reached"
    )
