"""Deployments with GPUs: which start, which wait, and what a new one takes over from the old."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from gateway.errors import Refusal
from store import Deployment
from tests.gateway.control.rollout_stage import RolloutStage, rollout_stage


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RolloutStage]:
    monkeypatch.setattr("gateway.control.gpu_reservations._CHECK_PAUSE", 0.01)
    async with rollout_stage(tmp_path, monkeypatch) as stage:
        stage.gpu_driver.number = 2
        await stage.gpus.gpus.look()
        yield stage


def waits_for(stage: RolloutStage, deployment: Deployment) -> str:
    return stage.deployments.waiting_for(deployment.id)


async def until_waiting(stage: RolloutStage, deployment: Deployment, text: str) -> None:
    with trio.fail_after(30):
        while not re.search(text, waits_for(stage, deployment)):  # noqa: ASYNC110
            await trio.sleep(0.005)


async def until_opened(stage: RolloutStage, count: int) -> None:
    with trio.fail_after(30):
        while len(stage.pools) < count:  # noqa: ASYNC110
            await trio.sleep(0.005)
    await stage.settled()


async def test_deployment_reserves_its_gpus(stage: RolloutStage) -> None:
    """The pool's replicas hold what was asked for; the GPUs are free again at its end."""
    made, pool = await stage.serving(replicas=2, gpus=1)
    assert stage.gpus.totals().free == 0
    await stage.deployments.stop(made)
    pool.end()
    await stage.until(made, "stopped")
    assert stage.gpus.totals().free == 2


async def test_deployment_waits_for_a_free_gpu(stage: RolloutStage) -> None:
    """It says what it waits for, and starts when another model has given its GPUs back."""
    first, pool = await stage.serving(gpus=2)
    second = await stage.deploy(model=1, gpus=1)
    await until_waiting(stage, second, "^GPUs: asked 1, 0 of 2 free$")
    assert await stage.status(second) == "deploying"
    await stage.deployments.stop(first)
    pool.end()
    await until_opened(stage, 2)
    stage.pools[1].get_ready()
    await stage.until(second, "deployed")
    assert waits_for(stage, second) == ""


async def test_waiting_deployment_can_be_stopped(stage: RolloutStage) -> None:
    """A deployment that waits for a GPU ends when it is stopped, or when a later one of its model
    has been asked for."""
    await stage.serving(gpus=2)
    second = await stage.deploy(model=1, gpus=1)
    await until_waiting(stage, second, "GPUs")
    await stage.deployments.stop(second)
    await stage.until(second, "stopped")
    third = await stage.deploy(model=1, gpus=1)
    await until_waiting(stage, third, "GPUs")
    fourth = await stage.deploy(model=1)
    await stage.until(third, "stopped")
    await until_opened(stage, 2)
    stage.pools[-1].get_ready()
    await stage.until(fourth, "deployed")


@pytest.mark.parametrize(
    ("number", "gpus", "replicas", "says"),
    [
        (0, 1, 1, "asked 1, the machine has 0 (this machine has no NVIDIA driver)"),
        (2, 3, 1, "asked 3, the machine has 2"),
        (2, 1, 3, "asked 1 for each of 3 replicas, the machine has 2"),
    ],
)
async def test_more_gpus_than_the_machine_has_are_refused(
    stage: RolloutStage, number: int, gpus: int, replicas: int, says: str
) -> None:
    """What could never start is refused when it is asked for."""
    stage.gpu_driver.number = number
    await stage.gpus.gpus.look()
    with pytest.raises(Refusal, match=re.escape(says)) as refused:
        await stage.deploy(gpus=gpus, replicas=replicas)
    assert refused.value.code == "resources.exceeded"


async def test_deployment_starts_beside_the_old_one_if_gpus_are_free(stage: RolloutStage) -> None:
    """With enough free GPUs nothing of the old deployment ends before the switch."""
    _, old = await stage.serving(gpus=1)
    new = await stage.deploy(gpus=1)
    assert old.calls == []
    assert waits_for(stage, new) == ""
    stage.pools[1].get_ready()
    await stage.until(new, "deployed")
    assert old.calls == ["give up what waits", "drain"]


async def test_old_deployment_gives_up_some_replicas(stage: RolloutStage) -> None:
    """If too few GPUs are free, the old deployment serves on with fewer replicas."""
    stage.gpu_driver.number = 3
    _, old = await stage.serving(replicas=2, gpus=1)
    new = await stage.deploy(replicas=2, gpus=1)
    assert old.calls == ["vacate 1"]
    said = "its replicas: too few GPUs are free for both, so 1 of 2 replicas of deployment 1 ended"
    assert waits_for(stage, new) == said
    assert stage.pools[1].spec.first_ready == 0
    stage.pools[1].get_ready()
    await stage.until(new, "deployed")
    assert old.calls == ["vacate 1", "give up what waits", "drain"]
    assert waits_for(stage, new) == ""


async def test_last_replica_serves_until_the_first_new_one_is_ready(stage: RolloutStage) -> None:
    """With all GPUs taken the switch comes with the first new replicas; the last one gets the GPU
    of the old deployment's last replica. A model of two replicas always serves."""
    _, old = await stage.serving(replicas=2, gpus=1)
    new = await stage.deploy(replicas=2, gpus=1)
    assert old.calls == ["vacate 1"]
    assert stage.pools[1].spec.first_ready == 1
    assert stage.answers() is old
    stage.pools[1].get_ready()
    await stage.until(new, "deployed")
    assert stage.answers() is stage.pools[1]


async def test_only_replica_ends_before_the_new_one_starts(stage: RolloutStage) -> None:
    """With one replica on the last GPU requests wait, and the status says so."""
    stage.gpu_driver.number = 1
    await stage.gpus.gpus.look()
    _, old = await stage.serving(gpus=1)
    new = await stage.deploy(gpus=1)
    assert old.calls == ["vacate 1"]
    assert waits_for(stage, new) == (
        "its replicas: too few GPUs are free for both, so deployment 1 ended its replicas, and "
        "requests wait"
    )
    assert stage.answers() is old, "it keeps the requests that wait"


async def test_old_deployment_serves_again_if_the_new_one_fails(stage: RolloutStage) -> None:
    """What was vacated is filled when nothing of the failed deployment is left, and its GPUs are
    the old one's again."""
    _, old = await stage.serving(gpus=2)
    new = await stage.deploy(gpus=1)
    assert old.calls == ["vacate 1"]
    stage.pools[1].fail("it does not load")
    await stage.settled()
    assert old.calls == ["vacate 1"], "the GPU is not free before the pool is closed"
    stage.pools[1].end()
    await stage.until(new, "failed")
    assert old.calls == ["vacate 1", "fill vacant"]
    assert stage.gpus.totals().free == 0
    assert stage.answers() is old


async def test_stopped_old_deployment_is_not_filled(stage: RolloutStage) -> None:
    """A deployment that was stopped meanwhile gets nothing back."""
    first, old = await stage.serving(gpus=2)
    new = await stage.deploy(gpus=2)
    await stage.deployments.stop(first)
    old.end()
    await stage.until(first, "stopped")
    stage.pools[1].fail("it does not load")
    stage.pools[1].end()
    await stage.until(new, "failed")
    assert "fill vacant" not in old.calls
    assert stage.gpus.totals().free == 2


async def test_deployment_that_served_keeps_its_gpus_after_a_restart(
    stage: RolloutStage, nursery: trio.Nursery
) -> None:
    """What served before a restart comes first, without a check, also of a lost GPU."""
    made, old = await stage.serving(gpus=2)
    waiting = await stage.deploy(model=1, gpus=1)
    await until_waiting(stage, waiting, "GPUs")
    # As if the gateway had been killed.
    stage.gpu_driver.number = 1
    stage.start_over()
    await stage.gpus.gpus.look()
    nursery.start_soon(stage.deployments.recover)
    await until_opened(stage, 2)
    assert stage.pools[1].spec.name == str(made.number)
    assert stage.gpus.totals().free == 0
    old.end()


async def test_project_with_fewest_gpus_is_next(stage: RolloutStage) -> None:
    """Of those that wait the project with the fewest GPUs is served first, whenever it came."""
    stage.gpu_driver.number = 3
    await stage.gpus.gpus.look()
    await stage.serving(gpus=1)  # of the first project
    reservation = stage.gpus.keep("of no deployment", 2)
    second = await stage.deploy(model=1, gpus=1)
    await until_waiting(stage, second, "0 of 3 free")
    third = await stage.deploy(model=2, gpus=2)
    await until_waiting(stage, third, "0 of 3 free")
    reservation.count = 1
    await until_waiting(stage, second, "asked 1, 1 of 3 free, and others waited before")
    stage.gpus.release(reservation)
    await until_opened(stage, 2)
    assert stage.pools[1].spec.name == str(third.number)


async def test_project_has_a_bound(stage: RolloutStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `project_gpus` a project waits although GPUs are free, and more is refused."""
    settings = msgspec.structs.replace(stage.settings.current, project_gpus=1)
    monkeypatch.setattr(stage.settings, "current", settings)
    await stage.serving(gpus=1)
    second = await stage.deploy(model=1, gpus=1)
    await until_waiting(stage, second, "^GPUs: asked 1, the project has 1 of its 1$")
    third = await stage.deploy(model=2, gpus=1)
    await until_opened(stage, 2)
    assert stage.pools[1].spec.name == str(third.number)
    with pytest.raises(Refusal, match="one project may have 1"):
        await stage.deploy(gpus=2)
    again = await stage.deploy(gpus=1)
    await stage.settled()
    assert waits_for(stage, again).startswith("its replicas")
