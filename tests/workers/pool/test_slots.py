"""The slots of a pool as plays: who is started when, who is replaced, and who is given up."""

from collections.abc import Callable

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.faults.matrix import fault
from tests.support.reactor_stage import REPLICA, Caller, Stage, counts, fail_to_start
from workers.errors import StartFailed
from workers.pool.pool import Pool
from workers.replica import wire
from workers.replica.lifecycle import State
from workers.replica.ticket import Answered, NotReady

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


@fault(
    "a crash loop at import (pace)",
    injection="every start fails",
    bound="the pauses double up to 30 s",
)
@pytest.mark.parametrize("fail", [fail_to_start, flap])
def test_failed_starts_back_off(stage: Stage, fail: Callable[[Stage], None]) -> None:
    """Pauses double from a quarter of a second up to half a minute; a replica that ends right after
    it got ready counts as a failed start."""
    stage.open_pool(start_tries=0)
    expected = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert pauses(stage, 9, fail) == expected


def test_steady_replica_is_replaced_at_once(stage: Stage) -> None:
    """A replica that ran for a while and then ends by itself is no failed start."""
    pool = stage.open_pool(start_tries=0)
    assert pauses(stage, 3, fail_to_start) == [0.25, 0.5, 1.0]
    stage.actors[-1].get_ready()
    stage.pass_time(60.0)
    launched = len(stage.actors)
    stage.actors[-1].end()
    assert len(stage.actors) == launched + 1
    pool.verify()
    assert pauses(stage, 1, fail_to_start) == [0.25]


@fault(
    "a crash loop at import (end)",
    injection="no start ever succeeds",
    bound="the pool gives up, saying why",
)
async def test_pool_fails_after_start_tries_with_the_reason(stage: Stage) -> None:
    """After start_tries failed starts the pool fails with the model's error, and closes by
    itself."""
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


async def test_start_past_start_timeout_is_killed(stage: Stage) -> None:
    """A model that loads for longer than start_timeout is killed, with that as the reason."""
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


def test_pool_that_was_ready_never_gives_up(stage: Stage) -> None:
    """A pool that was ready once retries for ever, since the cause may pass."""
    pool = stage.serving(start_tries=1)
    stage.actors[0].end()
    for _ in range(5):
        stage.pass_time(40.0)
        fail_to_start(stage)
    stage.pass_time(40.0)
    stage.actors[-1].get_ready()
    assert pool.failure is None
    assert pool.ready == 1


# The pool of a deployment whose first replica was started by a probe.


async def test_probed_pool_serves_with_its_first_replica(stage: Stage) -> None:
    """The other replicas start when it serves. Only then requests, and their metrics, count."""
    pool = stage.open_pool(replicas=3, filled=1, first_ready=1)
    stage.actors[0].get_ready()
    await pool.wait_ready()
    probe = Caller().submit(pool)
    stage.actors[0].track(b"[1]")
    stage.actors[0].answer()
    assert isinstance(probe.outcome, Answered)
    assert len(stage.actors) == 1

    tracked: list[bytes | bytearray] = []
    pool.serve(msgspec.structs.replace(pool.spec, first_ready=0), tracked.append)
    pool.verify()
    assert len(stage.actors) == 3
    assert counts(pool)["received"] == 0
    with trio.move_on_after(0) as patience:
        await pool.wait_ready()
    assert patience.cancelled_caught, "the others are not ready"
    first = Caller().submit(pool)
    stage.actors[0].track(b"[2]")
    stage.actors[0].answer()
    assert isinstance(first.outcome, Answered)
    assert counts(pool)["received"] == 1
    assert tracked == [b"[2]"]
    for actor in stage.actors[1:]:
        actor.get_ready()
    await pool.wait_ready()
    assert pool.ready == 3


async def test_probed_pool_that_lost_its_replica_serves_with_others(stage: Stage) -> None:
    """Its first replica ended between the probe and the rollout."""
    pool = stage.open_pool(replicas=2, filled=1, first_ready=1, start_tries=1)
    stage.actors[0].get_ready()
    await pool.wait_ready()
    stage.actors[0].end()
    pool.serve(msgspec.structs.replace(pool.spec, first_ready=0, start_tries=3), lambda _: None)
    stage.pass_time(1.0)
    assert len(stage.actors) == 3
    for actor in stage.actors[1:]:
        actor.get_ready()
    await pool.wait_ready()
    assert pool.ready == 2


# Restart.


async def test_restart_replaces_one_replica_at_a_time(stage: Stage, nursery: trio.Nursery) -> None:
    """Each successor is ready before its predecessor is told to end: the number of ready replicas
    never falls."""
    pool = stage.serving(2)
    nursery.start_soon(pool.restart)
    for slot in range(2):
        await wait_all_tasks_blocked()
        assert len(stage.actors) == 3 + slot
        assert pool.ready == 2
        assert not stage.actors[slot].told_to_end
        stage.actors[2 + slot].get_ready()
        assert stage.actors[slot].told_to_end
        assert pool.ready == 2
        stage.actors[slot].end()
        pool.verify()
    await wait_all_tasks_blocked()
    assert [slot.name for slot in pool.statistics().slots] == [
        actor.replica.name for actor in stage.actors[2:]
    ]


async def test_failed_restart_keeps_the_old_replica(stage: Stage, nursery: trio.Nursery) -> None:
    """Where the successor does not get ready, restart raises the reason and the old replica still
    serves."""
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


async def test_replica_restarted_during_a_prediction_finishes_it(
    stage: Stage, nursery: trio.Nursery
) -> None:
    """The predecessor answers its request, then ends."""
    pool = stage.serving()
    caller = Caller().submit(pool)
    nursery.start_soon(pool.restart)
    await wait_all_tasks_blocked()
    stage.actors[1].get_ready()
    assert not stage.actors[0].told_to_end
    stage.actors[0].answer()
    assert isinstance(caller.outcome, Answered)
    assert stage.actors[0].told_to_end


# Recycling.


def serve(stage: Stage, pool: Pool, count: int) -> None:
    """So many requests, one after the other, each answered."""
    for _ in range(count):
        caller = Caller().submit(pool)
        actor = next(a for a in stage.actors if a.replica.ticket is not None)
        actor.answer()
        assert isinstance(caller.outcome, Answered)
        pool.verify()


def test_replica_is_recycled_after_requests_without_loss(stage: Stage) -> None:
    """After recycle_after_requests a successor starts; until it is ready the old replica serves."""
    pool = stage.serving(recycle_after_requests=10)
    serve(stage, pool, 9)
    assert len(stage.actors) == 1
    serve(stage, pool, 5)
    assert len(stage.actors) == 2
    holds = Caller().submit(pool)
    stage.actors[1].get_ready()
    stage.actors[0].answer()
    assert isinstance(holds.outcome, Answered)
    assert stage.actors[0].told_to_end
    stage.actors[0].end()
    [slot] = pool.statistics().slots
    assert (slot.restart, slot.recycled) == (1, 1)
    assert slot.last_exit == "it had served its maximum number of requests"
    serve(stage, pool, 9)
    assert len(stage.actors) == 2


def test_pool_recycles_one_replica_at_a_time(stage: Stage) -> None:
    """Recycling needs memory for one more replica, not for all; the next one follows at its next
    request."""
    pool = stage.serving(3, recycle_after_requests=2)
    serve(stage, pool, 12)
    assert len(stage.actors) == 4
    stage.actors[3].get_ready()
    serve(stage, pool, 3)
    assert len(stage.actors) == 5


def test_failed_successor_keeps_the_old_replica(stage: Stage) -> None:
    """The old replica continues to serve, and the next try waits for the pause of failed starts."""
    pool = stage.serving(recycle_after_requests=1)
    for pause in [0.25, 0.5, 1.0]:
        serve(stage, pool, 1)
        fail_to_start(stage)
        launched = len(stage.actors)
        stage.pass_time(pause - 0.01)
        serve(stage, pool, 1)
        assert len(stage.actors) == launched
        stage.pass_time(0.02)
    assert pool.ready == 1


def test_replica_above_memory_is_recycled(stage: Stage) -> None:
    """Above recycle_above_memory a replica is recycled within a second, unless it is young."""
    pool = stage.serving(recycle_above_memory=1000)
    stage.actors[0].process.memory = 1001
    stage.pass_time(9.5)
    assert len(stage.actors) == 1
    stage.pass_time(1.0)
    assert len(stage.actors) == 2
    stage.actors[1].get_ready()
    stage.actors[0].end()
    assert pool.statistics().slots[0].last_exit == ("it had grown above its recycling memory")
    stage.pass_time(60.0)
    assert len(stage.actors) == 2


def test_replica_above_memory_from_its_start_is_kept(stage: Stage) -> None:
    """A successor would use as much memory, so replacing it would never end."""
    pool = stage.open_pool(recycle_above_memory=1000)
    stage.actors[0].process.memory = 2000
    stage.actors[0].get_ready()
    stage.pass_time(60.0)
    assert len(stage.actors) == 1
    pool.verify()


def test_draining_pool_recycles_no_replica(stage: Stage) -> None:
    """A pool that drains lets its replicas finish, however much they have served or grown."""
    pool = stage.serving(recycle_after_requests=1, recycle_above_memory=1000)
    caller = Caller().submit(pool)
    stage.actors[0].process.memory = 2000
    pool.drain()
    stage.pass_time(20.0)
    stage.actors[0].answer()
    assert isinstance(caller.outcome, Answered)
    assert len(stage.actors) == 1


def test_ready_successor_resets_the_pauses(stage: Stage) -> None:
    """A successor that gets ready resets the pauses of recycling and of failed starts to the
    shortest."""
    pool = stage.serving(recycle_after_requests=1, start_tries=0)
    for pause in (0.25, 0.5):
        serve(stage, pool, 1)
        fail_to_start(stage)
        stage.pass_time(pause)
    serve(stage, pool, 1)
    stage.actors[-1].get_ready()
    for actor in stage.actors[:-1]:
        actor.end()
    serve(stage, pool, 1)
    fail_to_start(stage)
    launched = len(stage.actors)
    stage.pass_time(0.24)
    serve(stage, pool, 1)
    assert len(stage.actors) == launched
    stage.pass_time(0.02)
    serve(stage, pool, 1)
    assert len(stage.actors) == launched + 1


async def test_restart_fills_a_slot_whose_start_failed(stage: Stage, nursery: trio.Nursery) -> None:
    """A successor fills a slot that waits for its next try, which is cancelled; a failed start
    after that waits for the shortest pause."""
    pool = stage.open_pool(start_tries=0)
    assert pauses(stage, 4, fail_to_start) == [0.25, 0.5, 1.0, 2.0]
    fail_to_start(stage)
    nursery.start_soon(pool.restart)
    await wait_all_tasks_blocked()
    stage.actors[-1].get_ready()
    await wait_all_tasks_blocked()
    launched = len(stage.actors)
    stage.pass_time(4.9)
    assert len(stage.actors) == launched
    stage.actors[-1].end()
    assert pauses(stage, 1, fail_to_start)[0] <= 0.5
    pool.verify()


# The end.


Deed = Callable[[Stage, Pool], object]
# What a pool may be in the midst of when it is told to end.
MIDST: dict[str, Deed] = {
    "nothing": lambda stage, pool: None,
    "a prediction": lambda stage, pool: Caller().submit(pool),
    "a full line": lambda stage, pool: [Caller().submit(pool) for _ in range(5)],
    "a pause between starts": lambda stage, pool: stage.actors[0].end(),
    "a restart": lambda stage, pool: pool._slots.begin_restart(next(iter(pool._slots))),
    "a closed pipe": lambda stage, pool: stage.actors[0].hang_up(),
    "a failed start": lambda stage, pool: stage.actors[0].say(wire.Failed("E", "m", "t")),
}


@pytest.mark.parametrize("end", [Pool.drain, Pool.stop])
@pytest.mark.parametrize("midst", MIDST)
def test_closed_pool_leaves_no_timer(stage: Stage, midst: str, end: Callable[[Pool], None]) -> None:
    """A pool that is closed at any moment leaves no timer, which would keep it in memory and call
    it for nothing. The timers of another pool stay."""
    pool = stage.open_pool(replicas=2, recycle_above_memory=1000, start_tries=0)
    if midst == "a failed start":
        stage.actors[0].enter()
    else:
        for actor in stage.actors:
            actor.get_ready()
    ours = len(stage.reactor._timers)
    other = stage.serving(recycle_above_memory=1000)
    theirs, others = stage.actors[-1], len(stage.reactor._timers) - ours
    MIDST[midst](stage, pool)
    end(pool)
    end(pool)
    own = [actor for actor in stage.actors if actor is not theirs]
    # No replica continues as if nothing had happened.
    assert not {State.STARTING, State.IDLE, State.BUSY} & {each.replica.state for each in own}
    for actor in own:
        assert not pool.closed.is_set()
        actor.end()
    assert pool.closed.is_set()
    assert len(stage.reactor._timers) == others
    assert not other.closed.is_set()


async def test_pool_is_ready_when_all_its_slots_are(stage: Stage, nursery: trio.Nursery) -> None:
    """A pool is not ready with the first of its replicas."""
    pool = stage.open_pool(replicas=3, start_tries=0)
    ready = trio.Event()

    async def wait() -> None:
        await pool.wait_ready()
        ready.set()

    nursery.start_soon(wait)
    for actor in stage.actors:
        await wait_all_tasks_blocked()
        assert not ready.is_set()
        actor.get_ready()
    await wait_all_tasks_blocked()
    assert ready.is_set()


@pytest.mark.parametrize("end", [Pool.drain, Pool.stop])
async def test_restart_ends_with_the_pool(
    stage: Stage, nursery: trio.Nursery, end: Callable[[Pool], None]
) -> None:
    """A caller of restart does not wait for a successor that never comes."""
    pool = stage.serving(2)
    over = trio.Event()

    async def restart() -> None:
        await pool.restart()
        over.set()

    nursery.start_soon(restart)
    await wait_all_tasks_blocked()
    assert not over.is_set()
    end(pool)
    with trio.fail_after(30):
        await over.wait()
    assert len(stage.actors) == 3


def test_pool_is_closed_after_its_clean_up(stage: Stage) -> None:
    """A pool is not closed when its processes have ended: children of theirs and working copies may
    be left."""
    pool = stage.serving(2)
    pool.stop()
    for actor in stage.actors:
        actor.exit()
    for actor in stage.actors:
        pool.verify()
        assert not pool.closed.is_set()
        actor.clean()
    assert pool.closed.is_set()


def test_replica_that_does_not_end_is_killed(stage: Stage) -> None:
    """A replica whose pipe was closed and that does not end is killed after its grace."""
    pool = stage.serving()
    pool.drain()
    assert not stage.actors[0].process.killed
    stage.pass_time(1.1)
    assert stage.actors[0].process.killed


def test_replica_stopped_before_its_process_gets_none(stage: Stage) -> None:
    """A replica stopped while its working copy is made never gets a process."""
    pool = stage.open_pool()
    pool.stop()
    stage.actors[0].end("was not started, since it was stopped first")
    assert pool.closed.is_set()
    assert pool.failure is not None
