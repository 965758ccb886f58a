"""The probe of a build that a deployment waits for starts the first replica of that deployment."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.control.probed_pools import ProbedPools
from tests.gateway.control.rollout_stage import REPLICA, PlayedPool
from tests.support.gateway import Gateway, ended_build, status_is
from tests.support.served_gateway import write
from workers import Limits, Pool, PoolSpec, StartFailed

MODEL = """
import os

with open({starts!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
print("started", os.getpid())

def who(args):
    return os.getpid()
"""
SPEC = PoolSpec(name="pool", replica=REPLICA, log_folder=Path("/logs"))


class Started:
    """A project whose model records each start."""

    def __init__(self, folder: Path) -> None:
        self._starts = folder / "starts"
        text = MODEL.format(starts=str(self._starts))
        self.project = write(folder / "project", {"who.py": text})

    @property
    def processes(self) -> list[int]:
        return [int(line) for line in self._starts.read_text().split()]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    return Started(tmp_path)


async def served(gateway: Gateway, deployment: str) -> None:
    now = await gateway.until(deployment, status_is("deployed", "failed"))
    assert now["status"] == "deployed", now["failure"]


async def test_deployment_serves_with_the_replica_of_the_probe(
    gateway: Gateway, started: Started
) -> None:
    """The model is started once for each replica. The example is not counted, and what the first
    replica printed is in the logs of the build and of the model."""
    model = await gateway.model(await gateway.project(started.project))
    build = await gateway.build(model, "who.py:who", example={})
    deployment = await gateway.deploy(build, replicas=2)
    await served(gateway, deployment)
    assert len(started.processes) == 2
    replicas = (await gateway.get(f"{model}/replicas"))["replicas"]
    assert {each["pid"] for each in replicas} == set(started.processes)
    assert [each["received"] for each in replicas] == [0, 0]
    key = await gateway.key(model)
    assert (await gateway.call(key, {})).json()["response"] in started.processes
    said = f"started {started.processes[0]}"
    build_log = (await gateway.admin.get(f"{build}/log")).text
    assert said in build_log
    assert f"started {started.processes[1]}" not in build_log
    assert said in (await gateway.admin.get(f"{model}/logs")).text


async def test_replica_starts_before_a_build_that_is_not_probed_is_sealed(
    gateway: Gateway, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An equal build was probed before."""
    kept: list[Pool] = []
    keep = ProbedPools.keep

    def keeping(pools: ProbedPools, deployment_id: str, pool: Pool) -> None:
        kept.append(pool)
        keep(pools, deployment_id, pool)

    monkeypatch.setattr(ProbedPools, "keep", keeping)
    model = await gateway.model(await gateway.project(started.project))
    for number in (1, 2):
        build = await gateway.build(model, "who.py:who")
        await served(gateway, await gateway.deploy(build, replicas=2))
        assert len(kept) == number
        assert len(started.processes) == 2 * number
        assert kept[-1].ready == 2
    assert (await gateway.get(build))["steps"][4]["state"] == "skipped"


async def test_build_without_a_deployment_leaves_no_replica(
    gateway: Gateway, started: Started
) -> None:
    """Its deployment starts its own."""
    model = await gateway.model(await gateway.project(started.project))
    build = await gateway.built(model, "who.py:who")
    await gateway.deployed(build)
    assert len(started.processes) == 2


async def test_model_that_needs_more_than_its_deployment_has_is_built(
    gateway: Gateway, started: Started
) -> None:
    """The build can serve in another deployment, so it is tested with what the model's replicas get
    by default."""
    text = (started.project / "who.py").read_text()
    (started.project / "who.py").write_text("held = b'x' * (300 << 20)\n" + text)
    model = await gateway.model(await gateway.project(started.project))
    build = await gateway.build(model, "who.py:who")
    deployment = await gateway.deploy(build, memory=0.1)
    assert (await gateway.until(build, ended_build))["status"] == "built"
    failed = await gateway.until(deployment, status_is("deployed", "failed"))
    assert "memory" in failed["failure"]["problem"]
    assert len(started.processes) == 1
    assert "once more, with all" in (await gateway.admin.get(f"{build}/log")).text


def played(spec: PoolSpec = SPEC) -> Pool:
    return cast(Pool, PlayedPool(spec))


def stopped(pool: Pool) -> bool:
    return "stop" in cast(PlayedPool, pool).calls


async def test_pool_of_the_same_spec_is_taken_once() -> None:
    """Bounds that can be adjusted may differ."""
    pools, pool = ProbedPools(), played()
    async with pools.expecting("id", {"KEY": "k"}):
        assert pools.key_of("id") == {"KEY": "k"}
        pools.keep("id", pool)
        wanted = msgspec.structs.replace(SPEC, request_timeout=2.0, start_tries=0)
        assert pools.take("id", wanted) is pool
        assert pools.take("id", wanted) is None
    assert not stopped(pool)
    assert pools.key_of("id") is None


def changed_variable(spec: PoolSpec) -> PoolSpec:
    replica = msgspec.structs.replace(spec.replica, variables={"A": "new"})
    return msgspec.structs.replace(spec, replica=replica)


def changed_limits(spec: PoolSpec) -> PoolSpec:
    replica = msgspec.structs.replace(spec.replica, limits=Limits(processes=7))
    return msgspec.structs.replace(spec, replica=replica)


@pytest.mark.parametrize("change", [changed_variable, changed_limits])
async def test_pool_of_another_spec_is_stopped(change: Callable[[PoolSpec], PoolSpec]) -> None:
    """What the deployment would start now differs from what the probe started."""
    pools, pool = ProbedPools(), played()
    async with pools.expecting("id", {}):
        pools.keep("id", pool)
        assert pools.take("id", change(SPEC)) is None
        assert stopped(pool)


async def test_pool_that_has_failed_is_not_taken() -> None:
    """The deployment opens another one, and tells its failure."""
    pools, pool = ProbedPools(), played()
    cast(PlayedPool, pool).failure = StartFailed("the model did not become ready")
    async with pools.expecting("id", {}):
        pools.keep("id", pool)
        assert pools.take("id", SPEC) is None


async def test_pool_that_is_not_taken_is_stopped(nursery: trio.Nursery) -> None:
    """The deployment was stopped, or its build failed after the probe. It ends when nothing of the
    pool is left."""
    pools, early, late, ended = ProbedPools(), played(), played(), trio.Event()

    async def wait() -> None:
        async with pools.expecting("id", {}):
            pools.keep("id", early)
        ended.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    assert stopped(early)
    assert not ended.is_set()
    cast(PlayedPool, early).end()
    await ended.wait()
    pools.keep("id", late)
    assert stopped(late)
