"""What loses its parent is reaped by us, and what has an owner by its owner."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.polling import until
from tests.workers.process.test_process import instance_id, start, wait
from workers.orphan_processes import reap_orphans
from workers.process import process
from workers.process.process import kill_tree, marked

__all__ = ["instance_id"]


def dead_children() -> set[int]:
    """The children of this process that have ended and are not reaped."""
    found = set()
    for pid in all_children():
        with suppress(FileNotFoundError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                found.add(pid)
    return found


def living_children() -> set[int]:
    """The children of this process that have not ended."""
    return all_children() - dead_children()


def all_children() -> set[int]:
    """The children of each thread of this process; a thread may end meanwhile."""
    found = set[int]()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):
            found |= set(map(int, (task / "children").read_text().split()))
    return found


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """The dead children that the test has made."""
    before = dead_children()
    return lambda: dead_children() - before


def test_ended_daemon_is_reaped(instance_id: str, children: Callable[[], set[int]]) -> None:
    """A process in its own session whose parent has ended leaves no zombie when it ends."""
    started = start(instance_id, "setsid sh -c 'sleep 0.1' & exit 0")
    assert wait(started) == 0
    until(children)
    reap_orphans()
    assert children() == set()


def test_daemon_killed_with_its_tree_is_reaped(
    instance_id: str, children: Callable[[], set[int]]
) -> None:
    """Daemons that `kill_tree` has killed leave no zombies."""
    started = start(instance_id, "for i in 1 2 3; do setsid sleep 1000 & done; exit 0")
    assert wait(started) == 0
    until(lambda: len(marked(f"{instance_id}/")) == 3)
    kill_tree(f"{instance_id}/")

    def none_is_left() -> bool:
        reap_orphans()  # a process that was killed may take a moment to end
        return not children()

    until(none_is_left)


def test_awaited_group_has_ended(instance_id: str, children: Callable[[], set[int]]) -> None:
    """After the leader's end its group is killed and awaited: no member is left, dead or alive."""
    started = start(instance_id, "for i in 1 2 3; do sleep 1000 & done; exit 0")
    select.select([started.pidfd], [], [], 10)
    started.kill()
    assert wait(started) == 0
    started.await_group()
    with pytest.raises(ProcessLookupError):
        os.killpg(started.pid, 0)
    assert children() == set()


def test_owners_reap_their_children(instance_id: str) -> None:
    """The exit status of a child with an owner is not taken from it."""
    ours = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
    started = start(instance_id, "exit 5")
    until(lambda: {ours.pid, started.pid} <= dead_children())
    reap_orphans()
    assert ours.wait() == 7
    assert wait(started) == 5


def test_orphans_of_others_are_left_alone(instance_id: str) -> None:
    """Where all orphans come to the gateway, as process 1 of a container, it kills its own only."""
    before = living_children()
    started = start(instance_id, "env -i setsid /bin/sleep 1000 & exit 0")
    assert wait(started) == 0
    (pid,) = living_children() - before
    # Until then it still has the mark.
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    kill_tree(f"{instance_id}/")
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_live_orphan_is_left_alone(instance_id: str) -> None:
    """Only ended orphans are reaped."""
    started = start(instance_id, "setsid sleep 1000 & exit 0")
    assert wait(started) == 0
    until(lambda: marked(f"{instance_id}/"))
    [pid] = marked(f"{instance_id}/")
    reap_orphans()
    time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid in dead_children())
    reap_orphans()
    assert pid not in dead_children()


def test_endless_orphans_do_not_delay_other_trees(
    instance_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one tree keeps making orphans that have left it, the end of another is delayed for less
    time than by one of its own processes."""
    monkeypatch.setattr(process, "kill_orphans", lambda has_left_tree: 1)
    started = start(instance_id, "exec sleep 1000")
    until(lambda: marked(f"{instance_id}/"))
    begun = time.monotonic()
    kill_tree(f"{instance_id}/", seconds=60)
    assert time.monotonic() - begun < 30
    assert wait(started) == -signal.SIGKILL
