"""The order of the steps of a rollout, also while the store refuses them, and what they leave."""

import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

import store
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.errors import Refusal
from store import Database, StoreFailed
from tests.gateway.control.rollout_stage import PlayedPool, RolloutStage, refuse, rollout_stage
from workers import NETWORKS, Pool

MISTAKE = RuntimeError("this was not foreseen")


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RolloutStage]:
    async with rollout_stage(tmp_path, monkeypatch) as stage:
        yield stage


# The switch.


async def test_switch_is_written_before_callers_use_the_new_pool(
    stage: RolloutStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store refuses the switch, the old pool answers and keeps its queue. Then callers
    use the new pool, which takes over the queue before the old pool drains."""
    before, old = await stage.serving()
    write, seen = Database.write, list[bool]()

    async def refused(self: Database, asked: object, *args: object, **named: object) -> object:
        if asked == store.deployments.switch and len(seen) < 3:
            seen.append(stage.answers() is old and old.calls == [])
            raise StoreFailed("no room")
        return await write(self, asked, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "write", refused)
    after = await stage.deploy()
    new = stage.pools[-1]
    new.get_ready()
    await stage.until(after, "deployed")
    assert seen == [True] * 3
    assert stage.answers() is new
    assert new.calls == ["take over 1"]
    assert old.calls == ["give up what waits", "drain"]
    assert await stage.status(before) == "stopping"
    old.end()
    await stage.until(before, "stopped")
    assert stage.answers() is new


async def test_old_pool_answers_until_the_new_one_is_ready(stage: RolloutStage) -> None:
    """The old pool answers until the new one is ready. Callers of a model without a pool wait for
    the first. The memory is reserved until the pool is ready."""
    first = await stage.deploy()
    assert stage.answers() is stage.pools[0]
    assert stage.is_memory_reserved
    stage.pools[0].get_ready()
    await stage.until(first, "deployed")
    assert not stage.is_memory_reserved
    await stage.deploy()
    assert len(stage.pools) == 2
    assert stage.answers() is stage.pools[0]
    assert stage.is_memory_reserved


async def test_deployment_stopped_during_the_switch_gets_no_callers(
    stage: RolloutStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers do not get a pool that was stopped while the switch was written."""
    await stage.serving()
    new = await stage.deploy()
    record: Any = stage.writer.write_until_accepted

    async def stop_then(work: object, *args: object, **named: object) -> object:
        done = await record(work, *args, **named)
        if work == store.deployments.switch:
            await stage.deployments.stop(new)
        return done

    monkeypatch.setattr(stage.writer, "write_until_accepted", stop_then)
    stage.pools[1].get_ready()
    await stage.until(new, "stopping")
    assert "stop" in stage.pools[1].calls
    assert stage.answers() is not stage.pools[1]


async def test_old_deployment_can_be_stopped_during_the_switch(
    stage: RolloutStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop of the deployment that is being replaced stops that one; the new one serves."""
    before, old = await stage.serving()
    after = await stage.deploy()
    write: Any = stage.writer.write_until_accepted

    async def stop_first(work: object, *args: object, **named: object) -> object:
        if work == store.deployments.switch:
            await stage.deployments.stop(before)
        return await write(work, *args, **named)

    monkeypatch.setattr(stage.writer, "write_until_accepted", stop_first)
    new = stage.pools[-1]
    new.get_ready()
    await stage.until(after, "deployed")
    assert "stop" in old.calls
    assert await stage.status(before) == "stopping"
    old.end()
    await stage.until(before, "stopped")
    assert stage.answers() is new


# One at a time, and each model by itself.


async def test_model_has_one_rollout_at_a_time(stage: RolloutStage) -> None:
    """The second waits for the first and says so; another model's does not wait. A deployment that
    a later one has overtaken is not rolled out."""
    first, second, third = [await stage.deploy() for _ in range(3)]
    elsewhere = await stage.deploy(1)
    assert [pool.spec.name for pool in stage.pools] == ["1", "4"]
    assert stage.deployments.waiting_for(second.id).startswith("the rollout of another")
    assert stage.deployments.waiting_for(elsewhere.id) == ""
    stage.pools[0].get_ready()
    await stage.until(first, "deployed")
    await stage.until(second, "stopped")
    assert [pool.spec.name for pool in stage.pools] == ["1", "4", "3"]
    stage.pools[1].get_ready()
    await stage.until(elsewhere, "deployed")
    assert await stage.status(third) == "deploying"
    assert await stage.status(first) == "deployed"


async def test_stop_leaves_other_deployments_as_they_are(stage: RolloutStage) -> None:
    """A stop affects neither another deployment of the model nor another model."""
    (_, old), (new, now), (_, others) = [await stage.serving(n) for n in (0, 0, 1)]
    old.end()
    await stage.settled()
    assert stage.answers() is now
    await stage.deployments.stop(new)
    assert now.calls[-1] == "stop"
    assert stage.answers() is None
    assert await stage.status(new) == "stopping"
    now.end()
    await stage.until(new, "stopped")
    assert stage.answers(1) is others
    assert others.calls == []


async def test_deployment_that_waits_for_another_rollout_can_be_stopped(
    stage: RolloutStage,
) -> None:
    """It never has a pool, and ends when the other rollout has ended."""
    first, second = await stage.deploy(), await stage.deploy()
    await stage.deployments.stop(second)
    stage.pools[0].get_ready()
    await stage.until(first, "deployed")
    assert len(stage.pools) == 1
    assert await stage.status(second) == "stopped"
    assert not stage.is_running(second)


async def test_deployment_whose_stop_is_written_does_not_start(stage: RolloutStage) -> None:
    """What the store says counts, also before the task was stopped."""
    first, second = await stage.deploy(), await stage.deploy()
    await stage.database.write(store.deployments.stop, second.id)
    stage.pools[0].get_ready()
    await stage.until(first, "deployed")
    assert len(stage.pools) == 1
    assert not stage.is_running(second)


async def test_key_of_a_deployment_ends_with_it(stage: RolloutStage) -> None:
    """It acts for the deployer, in the model's project alone, until nothing of the deployment is
    left. Each deployment has its own key."""
    (first, served), (_, others) = await stage.serving(), await stage.serving(2)
    texts = [pool.spec.replica.variables["CDSW_APIV2_KEY"] for pool in (served, others)]
    found = [stage.accounts.principal(text, "") for text in texts]
    assert [each and (each.user, each.workload, each.within) for each in found] == [
        (stage.deployer, "model", stage.projects[0].id),
        (stage.deployer, "model", stage.projects[1].id),
    ]
    await stage.deployments.stop(first)
    served.end()
    await stage.until(first, "stopped")
    assert not stage.is_running(first)
    assert stage.accounts.principal(texts[0], "") is None
    assert stage.accounts.principal(texts[1], "") is not None


# At the next start.


async def _restarted(stage: RolloutStage) -> None:
    """This gateway ends as it should, and the next one begins."""
    stage.pool_source.is_closing = True
    for pool in stage.pools:
        pool.stop()
        pool.end()
    await stage.settled()
    for model in stage.models:
        stage.endpoints.set_pool(model.id, None)
    stage.pool_source.is_closing = False
    stage.pools.clear()
    stage.start_over()


async def test_deployment_that_served_is_recovered_first(stage: RolloutStage) -> None:
    """At the start, what was deployed serves before a rollout that was to replace it continues.
    What was stopping has stopped."""
    serving, _ = await stage.serving()
    stopping, _ = await stage.serving(1)
    later = await stage.deploy()
    assert await stage.status(later) == "deploying"
    await stage.database.write(store.deployments.stop, stopping.id)
    await _restarted(stage)
    with trio.fail_after(30):
        await stage.deployments.recover()
    await stage.settled()
    assert [pool.spec.name for pool in stage.pools] == [str(serving.number), str(later.number)]
    assert [pool.spec.start_tries for pool in stage.pools] == [0, 3]
    assert stage.answers() is stage.pools[0]
    assert await stage.status(stopping) == "stopped"
    assert not stage.is_running(stopping)


async def test_rebuild_does_not_delay_other_deployments(stage: RolloutStage) -> None:
    """Other deployments serve meanwhile. A rebuild that fails does not end what was deployed, but
    does end a rollout."""
    lost, _ = await stage.serving()
    other, _ = await stage.serving(2)
    await _restarted(stage)
    stage.build_source.lost[stage.builds[0].id] = 2
    with trio.fail_after(30):
        await stage.deployments.recover()
    await stage.settled()
    assert [pool.spec.name for pool in stage.pools] == [str(other.number)]
    lost = await stage.database.read(store.deployments.get, lost.id)
    assert stage.deployments.state(lost) == "rebuilding"
    await _restarted(stage)
    stage.build_source.lost[stage.builds[0].id] = 1
    await stage.deployments.recover()
    with trio.fail_after(30):
        while stage.answers() is None:  # noqa: ASYNC110 - nothing tells
            await trio.sleep(0.001)
    assert await stage.status(lost) == "deployed"
    stage.build_source.lost[stage.builds[1].id] = 1
    await stage.until(await stage.deploy(1), "failed")


async def test_rebuilt_deployment_is_deployed_when_its_pool_takes_calls(
    stage: RolloutStage,
) -> None:
    """Between its build and its pool it is "rebuilding", and callers learn that it is starting."""
    lost, _ = await stage.serving()
    await _restarted(stage)
    stage.pool_source.may_prepare = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.deployments.recover)
        await stage.settled()
        lost = await stage.database.read(store.deployments.get, lost.id)
        endpoint = stage.endpoints.find(lost.model_id)
        assert endpoint is not None
        assert (lost.status, stage.deployments.state(lost)) == ("deployed", "rebuilding")
        assert (endpoint.pool, endpoint.absence) == (None, "it is starting")
        stage.pool_source.may_prepare.set()
    await stage.settled()
    assert stage.deployments.state(lost) == "deployed"
    assert stage.answers() is stage.pools[0]
    assert endpoint.absence == ""


# Ends.


async def test_deleted_model_leaves_no_process(stage: RolloutStage) -> None:
    """If the row is deleted while the pool starts, the task stops the pool and waits for its
    end."""
    gone = await stage.deploy()
    await stage.database.write(store.models.delete, stage.models[0].id)
    [pool] = stage.pools
    pool.get_ready()
    await stage.settled()
    assert pool.calls == ["stop"]
    assert stage.is_running(gone)
    pool.end()
    await stage.settled()
    assert not stage.is_running(gone)


@pytest.mark.parametrize("where", ["prepare", "wait_ready", "switch", "take_over", "advance"])
async def test_internal_error_leaves_no_process(
    stage: RolloutStage, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Wherever it occurs, the new pool is closed before the deployment has failed. The old pool
    answers if it did before, and the next deployment is rolled out."""
    _, old = await stage.serving()

    def broken(*_: object, **__: object) -> None:
        raise MISTAKE

    with monkeypatch.context() as patched:
        if where in ("switch", "advance"):
            refuse(patched, getattr(store.deployments, where), MISTAKE, 1)
        elif where in ("wait_ready", "take_over"):
            patched.setattr(f"tests.gateway.control.rollout_stage.PlayedPool.{where}", broken)
        else:
            patched.setattr(stage.pool_source, where, broken)
        failed = await stage.deploy()
        new = stage.pools[-1]
        if new is not old:
            new.get_ready()
            await stage.settled()
            assert new.calls[-1] == "stop"
            assert await stage.status(failed) in ("deploying", "deployed")
            assert stage.is_running(failed)
            new.end()
        await stage.until(failed, "failed")
    assert not stage.is_running(failed)
    assert stage.answers() is (None if where == "take_over" else old)
    assert not stage.is_memory_reserved
    await stage.serving()
    assert stage.answers() is stage.pools[-1]


async def test_failure_is_written_after_the_pool_is_closed(
    stage: RolloutStage,
) -> None:
    """The old pool serves on; the reason is written when nothing of the new pool is left."""
    _, old = await stage.serving()
    failed = await stage.deploy()
    stage.pools[1].fail("no luck")
    await stage.settled()
    assert await stage.status(failed) == "deploying"
    stage.pools[1].end()
    await stage.until(failed, "failed")
    found = await stage.database.read(store.deployments.get, failed.id)
    assert found.failure is not None
    assert (found.failure.step, found.failure.problem) == ("START", "no luck")
    assert stage.answers() is old
    assert old.calls == []


async def test_deployment_stopped_while_its_failure_is_written_has_stopped(
    stage: RolloutStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop while the failure cannot be written is accepted: the deployment ends stopped."""
    failed = await stage.deploy()
    seen = refuse(monkeypatch, store.deployments.fail, StoreFailed("no room"), 3)
    stage.pools[0].fail("no luck")
    stage.pools[0].end()
    with trio.fail_after(30):
        while not seen:  # noqa: ASYNC110 - the store has no event
            await trio.sleep(0.001)
    await stage.deployments.stop(failed)
    await stage.until(failed, "stopped")
    assert not stage.is_running(failed)


async def test_gateway_that_ends_leaves_deployments_wanted(stage: RolloutStage) -> None:
    """The row of what served says so still, so that it serves again with the next gateway."""
    serving, pool = await stage.serving()
    stage.pool_source.is_closing = True
    pool.stop()
    pool.end()
    await stage.settled()
    assert not stage.is_running(serving)
    found = await stage.database.read(store.deployments.get, serving.id)
    assert (found.status, found.wanted) == ("deployed", "serve")


async def test_end_all_returns_when_nothing_of_the_model_runs(stage: RolloutStage) -> None:
    """It stops every deployment of the model. Those of another model continue."""
    _, old = await stage.serving()
    await stage.deploy()
    starting = stage.pools[-1]
    await stage.deploy()  # waits for its turn
    _, others = await stage.serving(1)
    ended = trio.Event()

    async def delete() -> None:
        await stage.database.write(store.models.delete, stage.models[0].id)
        stage.endpoints.forget_model(stage.models[0].id)
        await stage.deployments.end_all(stage.models[0].id)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(delete)
        await stage.settled()
        assert old.calls[-1] == "stop"
        for pool in (old, starting):
            assert not ended.is_set()
            pool.end()
            await stage.settled()
        with trio.fail_after(30):
            await ended.wait()
        assert "stop" in starting.calls
    assert stage.answers(1) is others
    assert others.calls == []
    assert len(list(stage.deployments._rollouts)) == 1
    assert len(stage.pools) == 3


# How many.


async def test_replicas_of_a_project_are_bounded_for_concurrent_deployments(
    stage: RolloutStage,
) -> None:
    """A model's next deployment replaces the one before in the count, and another project has its
    own bound."""
    await stage.settings.change({"project_replicas": 3})
    taken, codes = list[int](), set[str]()

    async def ask(model: int, replicas: int) -> None:
        try:
            await stage.deploy(model, replicas)
        except Refusal as refused:
            codes.add(refused.code)
        else:
            taken.append(model)

    async with trio.open_nursery() as nursery:
        for model in (0, 1, 0, 1):
            nursery.start_soon(ask, model, 2)
    assert len(set(taken)) == 1
    assert len(taken) == 2
    [other] = {0, 1} - set(taken)
    await ask(other, 2)
    assert other not in taken
    await ask(other, 1)
    assert other in taken
    await ask(2, 3)
    assert 2 in taken
    assert codes == {"project.busy"}
    assert not stage.deployments._claims


async def test_model_counts_with_the_larger_of_its_deployments(stage: RolloutStage) -> None:
    """While one replaces another, both run."""
    await stage.settings.change({"project_replicas": 4})
    for replicas in (3, 1):
        await stage.deploy(0, replicas)
    with pytest.raises(Refusal, match="the others have 3"):
        await stage.deploy(1, 2)
    await stage.deploy(1, 1)


async def test_user_who_may_not_edit_deploys_as_before(stage: RolloutStage) -> None:
    """The deployment has the variables of the model's present one, and no more network. Setting
    variables is refused."""
    size: Any = {"cpu_millicores": 1, "memory_mb": 1, "replicas": 1}

    async def deploy(model: int, **more: Any) -> None:
        asked = NewDeployment(**size, **more)
        made = await stage.deployments.create(
            stage.models[model], stage.builds[model], asked, stage.deployer
        )
        await stage.settled()
        stage.pools[-1].get_ready()
        await stage.until(made, "deployed")

    await deploy(0, network="none", environment={"A": "1"}, secrets={"B": "2"})
    await deploy(1, network="machine", environment={"A": "other"})
    first, last = NETWORKS[0], NETWORKS[-1]
    for asked, network in ((first, first), (last, "none")):
        found = await stage.deployments.earlier.as_before(
            stage.models[0], NewDeployment(**size, network=asked)
        )
        assert (found.environment, found.secrets) == ({"A": "1"}, {"B": "2"})
        assert found.network == min(asked, "none", key=NETWORKS.index)
        assert network in (found.network, "none")
    found = NewDeployment(**size)
    for named in ("environment", "secrets"):
        with pytest.raises(Refusal, match=named):
            await stage.deployments.earlier.as_before(
                stage.models[0], msgspec.structs.replace(found, **{named: {"A": "2"}})
            )


def test_played_pool_has_the_methods_of_a_pool() -> None:
    """Each method takes the same arguments as that of Pool."""
    played = {"get_ready", "fail", "end"}
    names = {name for name in vars(PlayedPool) if not name.startswith("_")} - played
    for name in names:
        ours, real = (inspect.signature(getattr(each, name)) for each in (PlayedPool, Pool))
        assert list(ours.parameters) == list(real.parameters), name
