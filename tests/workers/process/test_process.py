"""Process trees of the real operating system: found, killed, and not mistaken for each other."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.matrix import fault
from tests.support.confinement import unconfined
from tests.support.polling import until
from workers.confinement import Launch, ProjectCommand
from workers.process import process
from workers.process.process import MARK, describe_status, kill_tree, marked, spawn
from workers.process.usage import process_info

ROOT = Path(__file__).parents[3]
PATIENCE = 10.0


@pytest.fixture
def instance_id(tmp_path: Path) -> Iterator[str]:
    """A mark of this test's own, of which nothing is left afterwards."""
    instance_id = f"test-{os.getpid()}-{tmp_path.name}"
    yield instance_id
    kill_tree(instance_id)


def start(instance_id: str, script: str, stdout: int = 1) -> process.Process:
    return spawn(
        Launch(ProjectCommand(["/bin/sh", "-c", script], "/", {"PATH": "/usr/bin:/bin"})),
        mark=f"{instance_id}/tree/",
        stdout=stdout,
        stderr=2,
    )


def wait(started: process.Process) -> int:
    ready, _, _ = select.select([started.pidfd], [], [], PATIENCE)
    assert ready
    return started.reap()


def test_resident_is_the_memory_of_a_process(instance_id: str) -> None:
    """`resident` is the memory of the process, and nothing once it has ended."""
    read, write = process.pipe()
    code = "x = b'x' * 50_000_000; print(1, flush=True); import time; time.sleep(60)"
    started = start(instance_id, f'exec {sys.executable} -c "{code}"', stdout=write)
    os.close(write)
    assert os.read(read, 10) == b"1\n"
    os.close(read)
    assert 50_000_000 < started.resident() < 150_000_000
    started.kill()
    wait(started)
    assert started.resident() == 0


def test_environment_is_only_what_is_given(instance_id: str) -> None:
    """No variable of ours is inherited; the mark is added."""
    read, write = process.pipe()
    started = start(instance_id, "env", stdout=write)
    os.close(write)
    with open(read, "rb") as printed:
        names = {line.partition(b"=")[0].decode() for line in printed.read().splitlines()}
    assert wait(started) == 0
    assert names - {"PWD", "_", "SHLVL"} == {"PATH", MARK}  # those of the shell that says it


def test_descriptors_are_not_inherited(instance_id: str) -> None:
    """A descriptor that is inheritable by mistake does not reach the process."""
    read, write = process.pipe()
    extra = os.dup(read)
    os.set_inheritable(extra, True)
    started = start(instance_id, f"test ! -e /proc/self/fd/{extra}", stdout=write)
    assert wait(started) == 0
    for fd in (read, write, extra):
        os.close(fd)


def test_grandchild_in_its_own_session_is_found(instance_id: str) -> None:
    """A grandchild that forked twice and left session and group still carries the mark, and
    dies."""
    started = start(instance_id, "setsid sh -c 'sleep 1000 & sleep 1000' & exit 0")
    assert wait(started) == 0
    until(lambda: len(marked(f"{instance_id}/")) >= 2)
    assert started.pid not in marked(f"{instance_id}/")
    assert kill_tree(f"{instance_id}/tree/") >= 2
    assert marked(f"{instance_id}/") == []


def test_process_that_forks_during_the_search_is_found(instance_id: str) -> None:
    """Neither a process in the middle of an exec, which shows no environment, nor one that forks
    and ends during the search is missed."""
    for _ in range(30):
        started = start(instance_id, "nohup setsid env nohup setsid env sleep 1000 & exit 0")
        assert wait(started) == 0
        kill_tree(f"{instance_id}/tree/")
        assert marked(f"{instance_id}/") == []


@fault(
    "a tree that forks while it is killed",
    injection="forks without end",
    bound="none is left",
)
def test_tree_that_keeps_forking_is_killed(instance_id: str) -> None:
    """A tree that forks while it is killed has no survivor."""
    started = start(instance_id, "while true; do sleep 1000 & sleep 0.001; done")
    until(lambda: len(marked(f"{instance_id}/")) > 5)
    started.kill()
    assert wait(started) == -signal.SIGKILL
    kill_tree(f"{instance_id}/tree/")
    assert marked(f"{instance_id}/") == []


def test_mark_is_not_matched_by_prefix(instance_id: str) -> None:
    """An instance or tree whose name is the prefix of another's is not mistaken for it."""
    other = start(f"{instance_id}-2", "exec sleep 1000")
    until(lambda: marked(f"{instance_id}-2/"))
    assert marked(f"{instance_id}/") == []
    assert kill_tree(f"{instance_id}/") == 0
    assert marked(f"{instance_id}-2/tree/") == [other.pid]
    assert marked(f"{instance_id}-2/tre/") == []
    kill_tree(f"{instance_id}-2/")
    assert wait(other) == -signal.SIGKILL


def test_kill_of_an_ended_process_has_no_effect(instance_id: str) -> None:
    """Between its end and its reaping a process may be killed without effect."""
    started = start(instance_id, "exit 3")
    select.select([started.pidfd], [], [], PATIENCE)
    started.kill()
    assert wait(started) == 3


def test_what_cannot_be_started_raises(instance_id: str, tmp_path: Path) -> None:
    """A folder that is not there is an OSError, a variable that no process can have a ValueError;
    neither leaves a process or a descriptor."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="nowhere"):
        unconfined(tmp_path).launch(["true"], cwd=Path("/nowhere"), variables={}, view=None)
    for variables in ({"A": "\0"}, {"A-B": "1"}, {"UID": "1"}):
        with pytest.raises(ValueError, match="variable"):
            spawn(
                Launch(ProjectCommand(["true"], "/", variables)),
                mark=instance_id,
                stdout=1,
                stderr=2,
            )
    assert marked(instance_id) == []
    assert os.listdir("/proc/self/fd") == before


def test_variables_and_arguments_arrive_unchanged(instance_id: str) -> None:
    """Every byte that a process can be given reaches it; the mark cannot be replaced; a command
    without a path is searched on its own PATH."""
    every = os.fsdecode(bytes(range(1, 256)))
    variables = {"EVERY": every, "IFS": "E", "ENV": "/x", "PATH": "/usr/bin", MARK: "another"}
    read, write = process.pipe()
    code = "import os, sys; print(ascii((sorted(os.environ.items()), sys.argv[1:])))"
    command = ProjectCommand(
        ["env", sys.executable, "-c", code, every, "", "$(id)"], "/", variables
    )
    started = spawn(Launch(command), mark=f"{instance_id}/tree/", stdout=write, stderr=2)
    os.close(write)
    with open(read) as printed:
        told = printed.read()
    assert wait(started) == 0
    expected = {**variables, MARK: f"{instance_id}/tree/"}
    expected.setdefault("LC_CTYPE", "C.UTF-8")  # which Python sets where no language is
    assert told.strip() == ascii((sorted(expected.items()), [every, "", "$(id)"]))


@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_last_stage_works_with_every_shell(shell: str) -> None:
    """The last stage works with any shell that may be /bin/sh."""
    words = shell.split()
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is missing")
    variables = {"A": "'\n$(id)\xff", "LANG": "xx", "TZ": "UTC", "PS4": "$(id)", "PATH": "/usr/bin"}
    with open(ProjectCommand(["env", "-0"], "/usr", variables).open_script(""), "rb") as script:
        done = subprocess.run([*words, "-s"], stdin=script, env={}, capture_output=True, check=True)
    told = dict(each.split("=", 1) for each in os.fsdecode(done.stdout).split("\0") if each)
    # What bash adds by itself.
    assert {name: told[name] for name in told if name not in ("SHLVL", "_")} == variables
    assert done.stderr == b""


def test_process_without_a_pidfd_is_ended(
    instance_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no descriptor is left for the pidfd the process is ended, not forgotten, with its
    children."""

    def no_more(pid: int) -> int:
        until(lambda: len(marked(instance_id)) == 2)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    with pytest.raises(OSError, match="Too many"):
        start(instance_id, "sleep 1000 & wait")
    until(lambda: not marked(instance_id))


PARENT = """
import sys
from pathlib import Path
from workers.process.process import spawn
from workers.confinement import ProjectCommand, Launch
child = spawn(Launch(ProjectCommand(["/bin/sh", "-c", "while :; do :; done"], "/", {})),
    mark=sys.argv[1] + "/tree/", stdout=1, stderr=2)
print(child.pid, flush=True)
sys.stdin.read()
"""


@fault(
    "the gateway dies while a replica computes",
    injection="SIGKILL to the parent",
    bound="it is gone in 1 s",
)
def test_busy_process_dies_with_its_parent(instance_id: str) -> None:
    """`kill -9` of the parent ends a child that never looks at its pipes."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, instance_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until(lambda: "setpriv" not in child.name())  # gotcha G2: before that it is not bound
        parent.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert marked(f"{instance_id}/") == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-11, "was killed by SIGSEGV"),
        (-40, "was killed by signal 40"),
    ],
)
def test_status_has_a_description(status: int, words: str) -> None:
    """The description of a status is one that an operator understands."""
    assert describe_status(status) == words


def test_process_info_of_a_live_and_an_ended_process(instance_id: str) -> None:
    """A live process has memory and a parent; an ended one has no information."""
    started = start(instance_id, "sleep 1000")
    # Just after exec no page is counted yet.
    found = until(lambda: (info := process_info(started.pid)) and info.resident and info)
    assert found.parent == os.getpid()
    started.kill()
    wait(started)
    assert process_info(started.pid) is None
