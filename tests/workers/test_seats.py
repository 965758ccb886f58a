"""The seats of a pool as plays: who is started when, who is replaced, and who is given up."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.workers.stage import REPLICA, Caller, Stage, fail_to_start
from workers import wire
from workers.errors import StartFailed
from workers.ticket import Answered, NotReady

# Starts that fail.


def pauses(stage: Stage, count: int, fail: Callable[[Stage], None]) -> list[float]:
    """How long the pool waited before each further start."""
    seen = []
    for _ in range(count):
        fail(stage)
        launched, ended = len(stage.actors), stage.time
        while len(stage.actors) == launched:
            stage.pass_time(0.25)
        seen.append(stage.time - ended)
    return seen


def flap(stage: Stage) -> None:
    stage.actors[-1].get_ready()
    stage.actors[-1].end("exited with status 0")


@pytest.mark.parametrize("fail", [fail_to_start, flap])
def test_failed_starts_back_off(stage: Stage, fail: Callable[[Stage], None]) -> None:
    """Pauses double from a quarter of a second up to half a minute; getting ready only to end at
    once is as bad as not getting ready."""
    stage.open_pool(start_tries=0)
    expected = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert pauses(stage, 9, fail) == expected


def test_a_steady_replica_is_replaced_at_once(stage: Stage) -> None:
    """Who ran for a while and then ends by itself has not failed to start."""
    pool = stage.open_pool(start_tries=0)
    assert pauses(stage, 3, fail_to_start) == [0.25, 0.5, 1.0]
    stage.actors[-1].get_ready()
    stage.pass_time(60.0)
    launched = len(stage.actors)
    stage.actors[-1].end()
    assert len(stage.actors) == launched + 1
    pool.verify()
    assert pauses(stage, 1, fail_to_start) == [0.25]


async def test_a_pool_gives_up_with_the_reason(stage: Stage) -> None:
    """After start_tries failures the pool fails as the model did, and closes by itself."""
    pool = stage.open_pool(start_tries=3)
    waits = Caller().submit(pool)
    for attempt in range(3):
        actor = stage.actors[attempt]
        actor.enter()
        actor.say(wire.Failed("ImportError", "no pandas", "Traceback ..."))
        actor.end("exited with status 1")
        stage.pass_time(10.0)
    assert len(stage.actors) == 3
    with pytest.raises(StartFailed, match="ImportError: no pandas") as caught:
        await pool.wait_ready()
    assert caught.value.detail == "Traceback ..."
    assert isinstance(waits.outcome, NotReady)
    assert pool.closed.is_set()


async def test_a_start_has_a_time_of_its_own(stage: Stage) -> None:
    """A model that loads for longer than start_timeout is killed, and that is the reason given."""
    spec = REPLICA.__class__(
        code=REPLICA.code, environment=REPLICA.environment, file="m.py", function="f",
        start_timeout=7.0,
    )  # fmt: skip
    pool = stage.open_pool(spec, start_tries=1)
    stage.actors[0].enter()
    stage.pass_time(6.9)
    assert not stage.actors[0].process.killed
    stage.pass_time(0.2)
    assert stage.actors[0].process.killed
    stage.actors[0].end("was killed by SIGKILL")
    with pytest.raises(StartFailed, match="not ready within 7 s"):
        await pool.wait_ready()


def test_a_pool_that_was_ready_never_gives_up(stage: Stage) -> None:
    """What once worked is tried for ever, since what broke it may pass."""
    pool = stage.serving(start_tries=1)
    stage.actors[0].end()
    for _ in range(5):
        stage.pass_time(40.0)
        fail_to_start(stage)
    stage.pass_time(40.0)
    stage.actors[-1].get_ready()
    assert pool.failure is None
    assert pool.ready == 1


# Restart.


async def test_restart_replaces_one_after_the_other(stage: Stage, nursery: trio.Nursery) -> None:
    """Each successor is ready before its predecessor is told to end: ready never sinks."""
    pool = stage.serving(2)
    nursery.start_soon(pool.restart)
    for seat in range(2):
        await wait_all_tasks_blocked()
        assert len(stage.actors) == 3 + seat
        assert pool.ready == 2
        assert not stage.actors[seat].told_to_end
        stage.actors[2 + seat].get_ready()
        assert stage.actors[seat].told_to_end
        assert pool.ready == 2
        stage.actors[seat].end()
        pool.verify()
    await wait_all_tasks_blocked()
    assert [seat.name for seat in pool.statistics().seats] == [
        actor.replica.name for actor in stage.actors[2:]
    ]


async def test_a_restart_that_fails_leaves_the_old_one(stage: Stage, nursery: trio.Nursery) -> None:
    """Where the successor does not get ready, restart raises why and the old one goes on."""
    pool = stage.serving()

    async def restart() -> None:
        with pytest.raises(StartFailed, match="status 1"):
            await pool.restart()

    nursery.start_soon(restart)
    await wait_all_tasks_blocked()
    fail_to_start(stage)
    caller = Caller().submit(pool)
    stage.actors[0].answer()
    assert isinstance(caller.outcome, Answered)


async def test_a_replica_restarted_in_a_prediction_finishes_it(
    stage: Stage, nursery: trio.Nursery
) -> None:
    """The predecessor answers what it holds, then ends."""
    pool = stage.serving()
    caller = Caller().submit(pool)
    nursery.start_soon(pool.restart)
    await wait_all_tasks_blocked()
    stage.actors[1].get_ready()
    assert not stage.actors[0].told_to_end
    stage.actors[0].answer()
    assert isinstance(caller.outcome, Answered)
    assert stage.actors[0].told_to_end


# The end.


def test_who_does_not_leave_is_killed(stage: Stage) -> None:
    """A replica whose pipe was closed and that stays is killed after its grace."""
    pool = stage.serving()
    pool.drain()
    assert not stage.actors[0].process.killed
    stage.pass_time(1.1)
    assert stage.actors[0].process.killed


def test_stopped_before_the_process_was_made(stage: Stage) -> None:
    """A replica stopped while its working copy is made never gets a process."""
    pool = stage.open_pool()
    pool.stop()
    stage.actors[0].end("was not started, since it was stopped first")
    assert pool.closed.is_set()
    assert pool.failure is not None
