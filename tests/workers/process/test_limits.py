"""Limits on real models: one that exceeds a limit gets its name, and no other model notices."""

import os
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trio

from tests.faults.matrix import fault
from tests.support.polling import wait_until
from tests.support.skipping import not_here
from workers import (
    Answered,
    Died,
    Limits,
    Log,
    Pool,
    PoolSpec,
    ProbeRaised,
    Raised,
    ReplicaSpec,
    StartFailed,
    TimedOut,
    Workers,
    open_workers,
)
from workers.confinement import NETWORKS, Network
from workers.limits import Cause
from workers.process.environment import environment_of
from workers.process.process import marked
from workers.sizes import MIB

PROJECTS = Path(__file__).parents[2] / "projects"
PATIENCE = 30.0


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    instance_id = f"held-{tmp_path.name}"
    async with open_workers(tmp_path / "replicas", instance_id) as workers:
        yield workers
    assert marked(f"{instance_id}/") == []
    assert not any(each.folder.exists() for each in workers.cgroups.hierarchies)


def needs(workers: Workers, what: str) -> None:
    if what not in workers.cgroups.enforced:
        not_here(f"needs cgroups for {what}, which we may not use here")


def pool_of(workers: Workers, folder: Path, limits: Limits, **settings: Any) -> Pool:
    return workers.open_pool(pool_spec(folder, limits, **settings))


def pool_spec(folder: Path, limits: Limits, **settings: Any) -> PoolSpec:
    environment = folder / "environment" / "bin"
    environment.mkdir(parents=True, exist_ok=True)
    if not (environment / "python").exists():
        (environment / "python").symlink_to(sys.executable)
    replica = ReplicaSpec(
        code=PROJECTS / "greedy",
        environment=environment.parent,
        file="greedy.py",
        function="take",
        limits=limits,
    )
    return PoolSpec(name="greedy", replica=replica, log_folder=folder / "logs", **settings)


async def ask(pool: Pool, **deed: object) -> Any:
    with trio.fail_after(PATIENCE):
        outcome = await pool.predict(msgspec.json.encode(deed))
    pool.verify()
    return outcome


async def until_counted(pool: Pool, what: str) -> None:
    await wait_until(lambda: pool.statistics().slots[0].limits_met[what])


async def until_told(pool: Pool, text: str) -> None:
    await wait_until(lambda: any(text in line.text for line in pool.tail(50)))


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@fault(
    "a memory hog",
    injection="more than its limit",
    bound="it alone ends, and its caller hears why",
)
async def test_out_of_memory(workers: Workers, tmp_path: Path) -> None:
    """A model beyond its memory is replaced; its caller, its log and its counters say why."""
    needs(workers, "memory")
    pool = pool_of(workers, tmp_path, Limits(memory=64 * MIB))
    died = await ask(pool, do="memory", bytes=200 * MIB)
    assert isinstance(died, Died)
    assert died.reason == "the process ran out of memory: its limit is 64 MiB"
    ended = f"[predictd] request {died.request_id} ended the replica: {died.reason}"
    await until_told(pool, ended)
    assert isinstance(await ask(pool, do="nothing"), Answered)
    slot = pool.statistics().slots[0]
    assert slot.limits_met["memory"] == 1
    assert slot.last_exit == died.reason


async def test_model_out_of_memory_at_import_fails_to_start(
    workers: Workers, tmp_path: Path
) -> None:
    """A model that does not fit fails to start with that as the reason."""
    needs(workers, "memory")
    pool = pool_of(workers, tmp_path, Limits(memory=4 * MIB), start_tries=1)
    with pytest.raises(StartFailed, match="ran out of memory: its limit is 4 MiB") as failed:
        await pool.wait_ready()
    assert failed.value.cause is not None
    assert failed.value.cause.value == "memory"


async def test_probe_out_of_memory_names_the_limit(workers: Workers, tmp_path: Path) -> None:
    """A probe that meets a limit names it."""
    needs(workers, "memory")
    spec, log = pool_spec(tmp_path, Limits(memory=64 * MIB)), Log(tmp_path / "probe.log")
    with pytest.raises(ProbeRaised, match="its limit is 64 MiB") as raised:
        await workers.probe(spec, log, b'{"do": "memory", "bytes": 209715200}')
    log.close()
    assert raised.value.cause is Cause.MEMORY


@fault(
    "a fork bomb in a model",
    injection="forks without end",
    bound="held at its limit; its caller hears why",
)
async def test_fork_bomb_meets_its_limit(workers: Workers, tmp_path: Path) -> None:
    """A fork bomb meets its limit, the caller gets the error, and no process is left."""
    needs(workers, "pids")
    pool = pool_of(workers, tmp_path, Limits(processes=20))
    raised = await ask(pool, do="fork_bomb")
    assert isinstance(raised, Raised)
    assert "its limit of 20 processes and threads was reached" in raised.message
    assert isinstance(await ask(pool, do="nothing"), Answered)
    await until_counted(pool, "processes")


async def test_time_out_by_the_cpu_limit_is_named(workers: Workers, tmp_path: Path) -> None:
    """A time-out that the CPU limit caused is distinguished from a model that is slow by itself."""
    needs(workers, "cpu")
    pool = pool_of(workers, tmp_path, Limits(cpu=100), request_timeout=2.0)
    await pool.wait_ready()
    late = await ask(pool, do="compute", seconds=10)
    assert isinstance(late, TimedOut)
    assert late.because.startswith("its limit of 0.1 CPU delayed it by ")
    await until_counted(pool, "cpu")
    idle = await ask(pool, do="sleep", seconds=10)
    assert isinstance(idle, TimedOut)
    assert idle.because == ""


@fault(
    "a model that writes without end",
    injection="more than its limit",
    bound="it alone ends, and its caller hears why",
)
async def test_model_that_fills_its_disk_limit_is_ended(workers: Workers, tmp_path: Path) -> None:
    """A model that fills its working copy is ended, whether it computes or idles; no single file
    can become that large."""
    pool = pool_of(workers, tmp_path, Limits(disk=20 * MIB))
    died = await ask(pool, do="fill", files=30, bytes=MIB, then=600)
    assert isinstance(died, Died)
    assert died.reason == "the process was ended because it had written more than 20 MiB to disk"
    await until_counted(pool, "disk")
    raised = await ask(pool, do="fill", files=1, bytes=40 * MIB, then=0)
    assert isinstance(raised, Raised)
    assert "File too large" in raised.message
    assert isinstance(await ask(pool, do="fill", files=5, bytes=MIB, then=0), Answered)


async def test_deeply_nested_folders_are_removed(workers: Workers, tmp_path: Path) -> None:
    """A model that nests folders by the thousand leaves nothing. What they hold is measured in
    test_folders.py."""
    pool = pool_of(workers, tmp_path, Limits(disk=200 * MIB))
    assert isinstance(await ask(pool, do="dig", folders=3000), Answered)
    pool.stop()
    with trio.fail_after(PATIENCE):
        await pool.closed.wait()
    assert not list((tmp_path / "replicas").iterdir())


@fault(
    "a child that flees from a build",
    injection="a session of its own, no mark in its environment",
    bound="it ends with the script",
)
async def test_process_that_leaves_a_script_ends_with_it(workers: Workers, tmp_path: Path) -> None:
    """A process that left its script, without a mark and with a session of its own, ends with
    it."""
    needs(workers, "kill")
    lines: list[str] = []

    class Lines:
        def write(self, line: str) -> None:
            lines.append(line)

    script = "setsid env -i sh -c 'setsid sleep 600 & echo $!; wait' & sleep 0.2"
    status = await workers.run(
        ["/bin/sh", "-c", script],
        cwd=tmp_path,
        variables={},
        log=Lines(),
        time_limit=PATIENCE,
        limits=Limits(),
    )
    assert status == 0
    assert not is_alive(int(lines[0]))


async def test_log_of_a_script_names_the_limit_it_met(tmp_path: Path) -> None:
    """The log of a script whose child ran out of memory, or that may not fork, ends with that
    limit."""
    lines: list[str] = []

    class Lines:
        def write(self, line: str) -> None:
            lines.append(line)

    limits = Limits(memory=64 * MIB, processes=20)
    async with open_workers(tmp_path / "replicas", f"limits-{os.getpid()}") as workers:
        needs(workers, "memory")
        needs(workers, "pids")
        hog = f"""{sys.executable} -c 'print(len(b"x" * (200 << 20)))'; exit 3"""
        forks = (
            "for each in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 60 & done"
        )
        for script in (hog, forks):
            await workers.run(
                ["/bin/sh", "-c", script], cwd=tmp_path, variables={"PATH": "/usr/bin:/bin"},
                log=Lines(), time_limit=PATIENCE, limits=limits,
            )  # fmt: skip
            lines.append("and ended")
        # bash keeps trying, for longer than its time.
        forks = f"{forks}; wait"
        with pytest.raises(TimeoutError):
            await workers.run(
                ["/bin/bash", "-c", forks], cwd=tmp_path, variables={"PATH": "/usr/bin:/bin"},
                log=Lines(), time_limit=2.0, limits=limits,
            )  # fmt: skip
        lines.append("and ended")
    told = [before for before, line in pairwise(lines) if line == "and ended"]
    child = "exited with status 3, after a process that it had started ran out of memory"
    assert told[0] == f"[predictd] the script {child}"
    for line in told[1:]:
        assert line.endswith("after its limit of 20 processes and threads was reached")
    assert told[2].startswith("[predictd] the script was ended after")


@pytest.mark.parametrize("network", NETWORKS)
def test_spark_ui_is_off_without_a_listening_port(network: Network, tmp_path: Path) -> None:
    """The Spark UI needs a port by number, so it is off unless the deployment may listen or enables
    it."""
    spec = msgspec.structs.replace(pool_spec(tmp_path, Limits()).replica, network=network)
    assert ("SPARK_SUBMIT_OPTS" in environment_of(spec)) == (network != "listen")
    told = msgspec.structs.replace(spec, variables={"SPARK_SUBMIT_OPTS": "-Dspark.ui.port=0"})
    assert environment_of(told)["SPARK_SUBMIT_OPTS"] == "-Dspark.ui.port=0"


async def test_threads_follow_the_quota(workers: Workers, tmp_path: Path) -> None:
    """Numerical libraries get the CPU quota as their number of threads, unless the deployment sets
    another."""
    pool = pool_of(workers, tmp_path, Limits(cpu=1500))
    answered = await ask(pool, do="variable", name="OMP_NUM_THREADS")
    assert isinstance(answered, Answered)
    assert answered.body == b'"2"'
