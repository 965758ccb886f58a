"""Replicas that hold GPUs, as plays: they end before their successors begin, and slots are left
empty for another pool that needs their GPUs."""

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.reactor_stage import REPLICA, Caller, Stage, fail_to_start
from workers.errors import StartFailed
from workers.pool.pool import Pool
from workers.replica.ticket import Answered

WITH_GPU = msgspec.structs.replace(REPLICA, gpus=1)


def serving(stage: Stage, count: int = 1, **settings: int) -> Pool:
    pool = stage.open_pool(WITH_GPU, replicas=count, **settings)
    for actor in stage.actors[-count:]:
        actor.get_ready()
    return pool


async def test_restart_ends_a_replica_before_the_next_begins(
    stage: Stage, nursery: trio.Nursery
) -> None:
    """A restart never has two replicas for one slot; the other slots serve meanwhile."""
    pool = serving(stage, 2)
    nursery.start_soon(pool.restart)
    for slot in range(2):
        await wait_all_tasks_blocked()
        assert stage.actors[slot].told_to_end
        assert len(stage.actors) == 2 + slot, "its successor waits for the end"
        assert pool.ready == 1
        stage.actors[slot].end()
        assert len(stage.actors) == 3 + slot
        stage.actors[2 + slot].get_ready()
        pool.verify()
    await wait_all_tasks_blocked()
    assert pool.ready == 2
    assert [slot.restart for slot in pool.statistics().slots] == [1, 1]


async def test_restart_lets_a_prediction_finish(stage: Stage, nursery: trio.Nursery) -> None:
    """The replica answers what it has before it ends; what waits is served by the next one."""
    pool = serving(stage)
    running, waiting = Caller().submit(pool), Caller().submit(pool)
    nursery.start_soon(pool.restart)
    await wait_all_tasks_blocked()
    assert not stage.actors[0].told_to_end
    stage.actors[0].answer()
    assert isinstance(running.outcome, Answered)
    stage.actors[0].end()
    stage.actors[1].get_ready()
    stage.actors[1].answer()
    assert isinstance(waiting.outcome, Answered)


async def test_failed_restart_says_why_and_is_tried_again(
    stage: Stage, nursery: trio.Nursery
) -> None:
    """The old replica is gone, so the pool starts another after a pause."""
    pool = serving(stage)

    async def restart() -> None:
        with pytest.raises(StartFailed, match="status 1"):
            await pool.restart()

    nursery.start_soon(restart)
    await wait_all_tasks_blocked()
    stage.actors[0].end()
    fail_to_start(stage)
    await wait_all_tasks_blocked()
    assert len(stage.actors) == 2
    stage.pass_time(1.0)
    stage.actors[2].get_ready()
    pool.verify()
    assert pool.ready == 1


def test_recycled_replica_ends_first(stage: Stage) -> None:
    """Recycling renews one replica at a time, in place."""
    pool = serving(stage, 2, recycle_after_requests=1)
    for _ in range(2):
        caller = Caller().submit(pool)
        next(a for a in stage.actors if a.replica.ticket is not None).answer()
        assert isinstance(caller.outcome, Answered)
    assert len(stage.actors) == 2
    assert sum(actor.told_to_end for actor in stage.actors) == 1
    next(actor for actor in stage.actors if actor.told_to_end).end()
    stage.actors[2].get_ready()
    pool.verify()
    assert sum(slot.recycled for slot in pool.statistics().slots) == 1


def test_vacant_slots_stay_empty_until_they_are_filled(stage: Stage) -> None:
    """The other slots serve on; a replica of a vacant slot answers what it has."""
    pool = serving(stage, 3)
    callers = [Caller().submit(pool) for _ in range(4)]
    pool.vacate(2)
    for actor in stage.actors[:3]:
        actor.answer()
    assert [isinstance(each.outcome, Answered) for each in callers[:3]] == [True] * 3
    assert [actor.told_to_end for actor in stage.actors] == [False, True, True]
    for actor in stage.actors[1:]:
        actor.end()
    stage.pass_time(20.0)
    assert len(stage.actors) == 3
    stage.actors[0].answer()
    assert isinstance(callers[3].outcome, Answered)
    pool.verify()
    statuses = [slot.status for slot in pool.statistics().slots]
    assert statuses == ["idle", "waiting for a GPU", "waiting for a GPU"]
    pool.fill_vacant()
    assert len(stage.actors) == 5
    pool.verify()


def test_requests_wait_while_all_slots_are_vacant(stage: Stage) -> None:
    """No request is refused as hopeless: another pool takes over, or the slots are filled again."""
    pool = serving(stage)
    pool.vacate(1)
    stage.actors[0].end()
    caller = Caller().submit(pool)
    assert caller.outcomes == []
    other = serving(stage)
    other.take_over(pool)
    pool.drain()
    stage.actors[1].answer()
    assert isinstance(caller.outcome, Answered)
    assert pool.closed.is_set()


def test_slot_filled_before_its_replica_has_ended(stage: Stage) -> None:
    """The next replica begins when the old one is gone, without a pause."""
    pool = serving(stage)
    caller = Caller().submit(pool)
    pool.vacate(1)
    pool.fill_vacant()
    assert len(stage.actors) == 1
    pool.verify()
    stage.actors[0].answer()
    assert isinstance(caller.outcome, Answered)
    stage.actors[0].end()
    assert len(stage.actors) == 2
    pool.verify()


async def test_pool_is_ready_with_its_first_replicas(stage: Stage) -> None:
    """A pool whose last replica waits for a GPU of its predecessor is ready before that."""
    pool = stage.open_pool(WITH_GPU, replicas=2, first_ready=1)
    stage.actors[0].get_ready()
    with trio.fail_after(1):
        await pool.wait_ready()
    assert pool.ready == 1


async def test_replica_that_waits_for_a_gpu_has_no_deadline(stage: Stage) -> None:
    """The time of a start begins when it has its GPUs."""
    pool = stage.open_pool(WITH_GPU)
    replica = stage.actors[0].replica
    with replica.wait_for_gpus():
        stage.pass_time(600.0)
        assert pool.statistics().slots[0].status == "waiting for a GPU"
    replica.got_gpus()
    assert pool.statistics().slots[0].status == "starting"
    stage.actors[0].enter()
    stage.pass_time(59.0)
    assert not stage.actors[0].process.killed
    stage.pass_time(2.0)
    assert stage.actors[0].process.killed


async def test_stopped_replica_waits_no_longer(stage: Stage) -> None:
    """Stopping a pool ends the wait for GPUs."""
    pool = stage.open_pool(WITH_GPU)
    replica = stage.actors[0].replica
    with trio.fail_after(1), replica.wait_for_gpus():
        pool.stop()
        await trio.sleep_forever()
    stage.actors[0].end()
    assert pool.closed.is_set()
