"""Control groups: found, held, counted and removed; on this machine's own hierarchies where there
are some, and on folders that play the part of those that it does not have."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.other_user import become, run_as
from tests.support.polling import until
from tests.support.skipping import not_here
from workers import cgroups
from workers.cgroups import (
    CgroupMembership,
    Cgroups,
    Hierarchy,
    Leaf,
    files,
    memberships,
    open_tree,
    own_memberships,
)
from workers.cgroups import tree as trees
from workers.cgroups.leaf import sweep_folder
from workers.limits import CgroupCounters, Limits
from workers.sizes import MIB

V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        ("", V2_MOUNT, []),
        ("0::/\n", "", []),
        (
            "0::/user.slice/a b.scope\n",
            V2_MOUNT,
            [
                CgroupMembership(
                    2, Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/user.slice/a b.scope")
                )
            ],
        ),
        (
            "5:cpu,cpuacct:/jobs/1\n4:memory:/\n1:name=systemd:/\n0::/\n",
            V1_MOUNTS + UNIFIED,
            [
                CgroupMembership(
                    1,
                    Path("/sys/fs/cgroup/cpu,cpuacct"),
                    Path("/sys/fs/cgroup/cpu,cpuacct/jobs/1"),
                    ("cpu", "cpuacct"),
                ),
                CgroupMembership(
                    1, Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/memory"), ("memory",)
                ),
                CgroupMembership(2, Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/unified")),
            ],
        ),
        (  # a container that sees its own part of the hierarchy only
            "4:memory:/docker/abc/inner\n",
            "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            [
                CgroupMembership(
                    1,
                    Path("/sys/fs/cgroup/memory"),
                    Path("/sys/fs/cgroup/memory/inner"),
                    ("memory",),
                )
            ],
        ),
        (  # and one that does not see where it is
            "4:memory:/docker/abcd\n",
            "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            [],
        ),
    ],
)
def test_groups_of_a_process_are_found(
    cgroup: str, mountinfo: str, expected: list[CgroupMembership]
) -> None:
    """The groups of a process are found in the kernel's files: v1, v2 and hybrid."""
    assert memberships(cgroup, mountinfo) == expected


@pytest.mark.parametrize(
    ("version", "written"),
    [
        (
            1,
            {
                "memory.use_hierarchy": "1",
                "memory.limit_in_bytes": "104857600",
                "memory.memsw.limit_in_bytes": "104857600",
                "cpu.shares": "1536",
                "cpu.cfs_period_us": "100000",
                "cpu.cfs_quota_us": "150000",
                "pids.max": "99",
            },
        ),
        (
            2,
            {
                "memory.max": "104857600",
                "memory.swap.max": "0",
                "cpu.weight": "150",
                "cpu.max": "150000 100000",
                "pids.max": "99",
            },
        ),
    ],
)
def test_leaf_has_each_limit_in_its_file(
    tmp_path: Path, version: int, written: dict[str, str]
) -> None:
    """Each limit is written to the file that the version of cgroups has for it."""
    hierarchy = Hierarchy(version, tmp_path, ("memory", "cpu", "pids"))
    leaf = Leaf([hierarchy], "leaf")
    leaf.make(Limits(memory=100 * MIB, cpu=1500, processes=99))
    folder = tmp_path / "leaf"
    assert {file.name: file.read_text() for file in folder.iterdir()} == written
    assert leaf.enter == (folder / "cgroup.procs",)


def test_leaf_without_limits_is_unlimited(tmp_path: Path) -> None:
    """A leaf without limits is not limited; it still gets a fair share."""
    Leaf([Hierarchy(2, tmp_path, ("memory", "cpu", "pids"))], "leaf").make(Limits())
    assert [file.name for file in (tmp_path / "leaf").iterdir()] == ["cpu.weight"]


COUNTS = {
    1: {
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "memory.max_usage_in_bytes": f"{64 * MIB}\n",
        "memory.limit_in_bytes": f"{64 * MIB}\n",
        "cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n",
        "pids.events": "max 4\n",
    },
    2: {
        "memory.events": "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n",
        "cpu.stat": "usage_usec 1\nnr_periods 9\nnr_throttled 3\nthrottled_usec 1500000\n",
        "pids.events": "max 4\n",
    },
}


@pytest.mark.parametrize("version", [1, 2])
def test_leaf_counts_kills_refused_forks_and_throttling(tmp_path: Path, version: int) -> None:
    """Kills, refused forks and throttled time are read in the format of each version."""
    leaf = Leaf([Hierarchy(version, tmp_path, ("memory", "cpu", "pids"))], "leaf")
    leaf.make(Limits())
    for name, text in COUNTS[version].items():
        (tmp_path / "leaf" / name).write_text(text)
    assert leaf.counters() == CgroupCounters(
        memory_kills=2, met_own=True, forks_refused=4, throttled=1.5
    )


def test_memory_of_the_parents_counts_without_caches(tmp_path: Path) -> None:
    """The limit of a container counts; memory that the kernel could reclaim does not."""
    own = tmp_path / "jobs" / "one"
    own.mkdir(parents=True)
    (own / "memory.max").write_text("max\n")
    (own.parent / "memory.max").write_text(f"{512 * MIB}\n")
    (own.parent / "memory.current").write_text(f"{100 * MIB}\n")
    (own.parent / "memory.stat").write_text(f"anon 5\ninactive_file {30 * MIB}\nfile 9\n")
    groups = cgroups.memory_groups([CgroupMembership(2, tmp_path, own)])
    assert groups == [(2, own), (2, own.parent), (2, tmp_path)]
    assert [cgroups.memory_limit(*group) for group in groups] == [None, 512 * MIB, None]
    assert cgroups.memory_used(*groups[1]) == 70 * MIB
    assert cgroups.memory_groups([CgroupMembership(2, tmp_path, tmp_path)]) == []


# What follows is real.


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Cgroups]:
    tree = open_tree(f"test-{os.getpid()}-{tmp_path.name}", tmp_path / "record", 0, 1)
    yield tree
    tree.close()
    assert not any(each.folder.exists() for each in tree.hierarchies)


def needs(tree: Cgroups, *what: str) -> None:
    """Skips where this machine's cgroups do not hold it for us."""
    if missing := set(what) - set(tree.enforced):
        not_here(f"needs cgroups for {', '.join(sorted(missing))}, which we may not use here")


def made(tree: Cgroups, name: str, limits: Limits) -> Leaf:
    leaf = tree.leaf(name)
    leaf.make(limits)
    return leaf


def run_in(leaf: Leaf, program: str) -> subprocess.Popen[str]:
    entering = (
        'for file; do [ "$file" = -- ] && break; echo $$ >"$file"; shift; done; shift; exec "$@"'
    )
    return subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            entering,
            "sh",
            *map(str, leaf.enter),
            "--",
            sys.executable,
            "-c",
            program,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def test_process_above_its_memory_limit_is_killed_and_counted(tree: Cgroups) -> None:
    """A process that takes more than its limit is killed, and its leaf counts the kill as its
    own."""
    needs(tree, "memory")
    leaf = made(tree, "hog", Limits(memory=64 * MIB))
    hog = run_in(leaf, "held = [bytearray(1 << 20) for _ in range(500)]")
    hog.communicate()
    assert hog.returncode == -9
    counters = leaf.counters()
    assert counters.memory_kills >= 1
    assert counters.met_own
    leaf.remove()


def test_fork_above_the_limit_fails_and_is_counted(tree: Cgroups) -> None:
    """A fork above the limit fails in the process that tries it, and is counted."""
    needs(tree, "pids")
    leaf = made(tree, "bomb", Limits(processes=5))
    program = (
        "import os, time\n"
        "for count in range(99):\n"
        "    try:\n        pid = os.fork()\n"
        "    except BlockingIOError:\n        print(count, flush=True); break\n"
        "    if pid == 0: time.sleep(600)\n"
    )
    bomb = run_in(leaf, program)
    assert bomb.stdout is not None
    assert bomb.stdout.readline() == "4\n"
    assert leaf.counters().forks_refused == 1
    leaf.kill()
    bomb.communicate()
    leaf.remove()


def test_process_above_its_cpu_quota_is_throttled(tree: Cgroups) -> None:
    """A process that computes without a pause is throttled for most of the time by a small
    quota."""
    needs(tree, "cpu")
    leaf = made(tree, "busy", Limits(cpu=100))
    busy = run_in(leaf, "import time\nwhile time.process_time() < 0.1: pass")
    began = time.monotonic()
    busy.communicate()
    assert leaf.counters().throttled > 0.3
    assert time.monotonic() - began > 0.4
    leaf.remove()


FLEEING = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", "600"], {})
        os._exit(0)
print("fled", flush=True)
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""


def test_kill_ends_every_process_of_a_leaf(tree: Cgroups) -> None:
    """A kill ends processes with own sessions, without a mark and with ever new children; the leaf
    is removed."""
    needs(tree, "kill")
    leaf = made(tree, "fleeing", Limits(processes=100))
    fleeing = run_in(leaf, FLEEING)
    assert fleeing.stdout is not None
    assert fleeing.stdout.readline() == "fled\n"
    began = time.monotonic()
    leaf.kill()
    fleeing.communicate()
    assert time.monotonic() - began < 2
    assert not leaf.enter[0].read_text()
    leaf.remove()
    assert not leaf.enter[0].parent.exists()


def test_kill_by_lists_of_ids_ends_every_process(tree: Cgroups) -> None:
    """The kill also ends every process where the kernel can only forbid forks, not kill a whole
    group."""
    needs(tree, "pids")
    one = [each for each in tree.hierarchies if each.version == 1 and "pids" in each.controllers]
    if not one:
        not_here("needs the pids controller of cgroups v1")
    leaf = Leaf(one, "listed")
    leaf.make(Limits(processes=100))
    fleeing = run_in(leaf, FLEEING)
    assert fleeing.stdout is not None
    assert fleeing.stdout.readline() == "fled\n"
    leaf.kill()
    fleeing.communicate()
    assert not leaf.enter[0].read_text()
    leaf.remove()


def test_what_a_killed_gateway_left_is_swept(tmp_path: Path) -> None:
    """The next tree of the same data folder ends what is in the leaves of the last, and removes
    them, even if its gateway was in another cgroup."""
    instance_id = f"test-{os.getpid()}-left"
    record = tmp_path / "record"
    first = open_tree(instance_id, record, 0, 1)
    needs(first, "kill")
    leaf = made(first, "left", Limits())
    left = run_in(leaf, FLEEING)
    assert left.stdout is not None
    assert left.stdout.readline() == "fled\n"
    second = open_tree(instance_id, record, 0, 1)
    left.communicate()
    assert not leaf.enter[0].exists()
    second.close()
    # The record alone leads there.
    elsewhere = first.hierarchies[0].folder
    (elsewhere / "left").mkdir(parents=True)
    record.write_text(f"{elsewhere}\n{tmp_path}\n")
    assert trees._recorded(record, instance_id) == [elsewhere]
    sweep_folder(2, elsewhere)
    assert not elsewhere.exists()


def test_limit_of_all_models_ends_a_model_without_its_own(tmp_path: Path) -> None:
    """The limit of all models ends a process without a limit of its own; the reason names that
    limit."""
    tree = open_tree(f"test-{os.getpid()}-all", tmp_path / "record", 64 * MIB, 1)
    try:
        needs(tree, "memory")
        leaf = made(tree, "hog", Limits())
        hog = run_in(leaf, "held = [bytearray(1 << 20) for _ in range(500)]")
        hog.communicate()
        assert hog.returncode == -9
        assert leaf.counters().memory_kills >= 1
        assert not leaf.counters().met_own
        leaf.remove()
    finally:
        tree.close()


def play_v2(folder: Path, controllers: str, *, switched_on: str = "") -> CgroupMembership:
    """A delegated group of v2, as a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "cgroup.type").write_text("domain\n")
    (folder / "cgroup.controllers").write_text(f"{controllers}\n")
    (folder / "cgroup.subtree_control").write_text(f"{switched_on}\n")
    (folder / "cgroup.procs").write_text("1\n")
    return CgroupMembership(2, folder.parent, folder)


def test_v2_controllers_are_enabled_and_restored(tmp_path: Path) -> None:
    """The gateway moves into a child group before its own group has limited children; at the end it
    undoes this."""
    own = play_v2(tmp_path / "own", "cpuset cpu io memory pids")
    assert trees._delegate(own.folder) == ("cpu", "memory", "pids")
    assert (own.folder / "predictd-gateway/cgroup.procs").read_text() == str(os.getpid())
    assert (own.folder / "cgroup.subtree_control").read_text() in ("+cpu", "+memory", "+pids")
    assert (own.folder / "cgroup.procs").read_text() == "1\n"
    trees._undo_delegation(own.folder, ("pids",))
    assert (own.folder / "cgroup.subtree_control").read_text() == "-pids"
    assert (own.folder / "cgroup.procs").read_text() == str(os.getpid())


def test_v2_with_controllers_enabled_is_left_unchanged(tmp_path: Path) -> None:
    """No process moves where the controllers are enabled already."""
    own = play_v2(tmp_path / "own", "cpu memory pids", switched_on="cpu memory pids")
    trees._delegate(own.folder)
    assert not (own.folder / "predictd-gateway").exists()


def test_v2_with_other_processes_keeps_controllers_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cgroup has other processes, controllers stay off, the gateway moves back, and no
    other process is moved."""
    own = play_v2(tmp_path / "own", "cpu memory pids")
    control, write = own.folder / "cgroup.subtree_control", files.try_to_write

    def refuse(file: Path, text: str) -> bool:
        return file != control and write(file, text)  # as EBUSY is

    monkeypatch.setattr(trees, "try_to_write", refuse)
    assert trees._delegate(own.folder) == ()
    assert (own.folder / "cgroup.procs").read_text() == str(os.getpid())


def as_a_user(uid: int, given: list[Path], folder: Path) -> object:
    """What the groups hold for a user to whom they were given, and how many of those who fled in a
    leaf were there before and after its end."""
    for group in given:
        (group / "cgroup.procs").write_text("0")
        for file in (group, *group.glob("cgroup.*"), *group.glob("tasks")):
            os.chown(file, uid, uid)
    os.chown(folder, uid, uid)
    become(uid)
    tree = open_tree(f"test-{os.getpid()}-given", folder / "record", 0, 1)
    leaf = made(tree, "fleeing", Limits(memory=64 * MIB, processes=100, cpu=1000))
    flee = 'for file; do echo 0 >"$file"; done; setsid sleep 600 & setsid sleep 600 & kill -STOP $$'
    subprocess.Popen(["/bin/sh", "-c", flee, "sh", *map(str, leaf.enter)])
    until(lambda: len(leaf.processes()) == 3)
    leaf.kill()
    left = leaf.processes()
    leaf.remove()
    tree.close()
    return [tree.enforced, left, [group.name for group in given if any(group.glob("predictd-*"))]]


def test_delegated_groups_limit_a_user_who_is_not_root() -> None:
    """A user who is not root has leaves with limits in the groups that were delegated, v1 and
    v2."""
    if os.geteuid() != 0:
        not_here("needs root, to give groups away")
    wanted = {"memory", "cpu", "pids"}
    useful = [
        each for each in own_memberships() if each.version == 2 or wanted & {*each.controllers}
    ]
    given = [each.folder / f"given-{os.getpid()}" for each in useful]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as after:
        for group in given:
            try:
                group.mkdir()
            except OSError:
                not_here("needs cgroups, which we may not make here")
            after.callback(group.rmdir)
        answer = run_as(0, lambda: as_a_user(12345, given, Path(name)))
    held = wanted & {name for each in useful for name in each.controllers}
    assert isinstance(answer, list), answer
    assert set(answer[0]) >= {"kill", *held}
    assert answer[1:] == [[], []]
