"""The pool as plays: an event goes in, an outcome or a launch comes out, and its laws hold."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.reactor_stage import Actor, Caller, Stage, counts, fail_to_start
from workers.pool.fair_queue import QueueBudget
from workers.pool.slots import STOP_GRACE
from workers.replica import wire
from workers.replica.ticket import (
    Abandoned,
    Answered,
    Busy,
    Died,
    NotReady,
    Raised,
    Refused,
    TimedOut,
)

# Requests.


def test_request_gets_its_answer(stage: Stage) -> None:
    """The caller gets the answer of the replica, with the replica's name."""
    pool = stage.serving()
    caller = Caller(b'{"a":3}').submit(pool)
    assert stage.actors[0].hear()[-1] == (wire.PREDICT, 1, b'{"a":3}')
    stage.actors[0].answer(b"8")
    assert caller.outcome == Answered(b"8", stage.actors[0].replica.name)
    assert counts(pool) | {"restart": 0} == {
        "received": 1, "processed": 1, "success": 1, "failure": 0, "error": 0, "restart": 0,
    }  # fmt: skip
    pool.verify()


def test_replica_predicts_one_at_a_time_in_order(stage: Stage) -> None:
    """The second request is sent when the first is answered, in the order of arrival."""
    pool = stage.serving()
    callers = [Caller(b"%d" % number).submit(pool) for number in range(5)]
    actor = stage.actors[0]
    for number, caller in enumerate(callers):
        assert actor.hear()[-1] == (wire.PREDICT, number + 1, b"%d" % number)
        actor.answer(b"%d" % number)
        assert caller.outcome == Answered(b"%d" % number, actor.replica.name)
        pool.verify()


def test_longest_idle_replica_is_next(stage: Stage) -> None:
    """Requests rotate, so that no replica is forgotten."""
    pool = stage.serving(3)
    held = []
    for _ in range(6):
        Caller().submit(pool)
        [actor] = [actor for actor in stage.actors if actor.replica.ticket]
        held.append(actor)
        actor.answer()
    assert held == stage.actors * 2


def test_refused_input_costs_no_restart(stage: Stage) -> None:
    """Input that the interpreter cannot read is refused, and the replica still serves."""
    pool = stage.serving()
    caller = Caller().submit(pool)
    stage.actors[0].say(wire.Refused("too deep"), 1)
    assert caller.outcome == Refused("too deep", stage.actors[0].replica.name)
    assert (counts(pool)["failure"], len(stage.actors), pool.ready) == (1, 1, 1)


def test_abandoned_queued_request_leaves_the_queue(stage: Stage) -> None:
    """A request that is abandoned while queued reaches no replica."""
    pool = stage.serving()
    first, second, third = (Caller(b"%d" % number).submit(pool) for number in range(3))
    second.ticket.abandon()
    pool.verify()
    stage.actors[0].answer()
    assert stage.actors[0].hear()[-1][2] == b"2"
    stage.actors[0].answer()
    assert second.outcome == Abandoned()
    assert isinstance(first.outcome, Answered)
    assert isinstance(third.outcome, Answered)


def test_abandoned_running_request_is_finished_and_dropped(stage: Stage) -> None:
    """A request that is abandoned while it runs is finished and its answer dropped; the next caller
    gets its own."""
    pool = stage.serving()
    gone, next_one = Caller().submit(pool), Caller().submit(pool)
    gone.ticket.abandon()
    pool.verify()
    stage.actors[0].answer(b'"unheard"')
    stage.actors[0].answer(b'"for the next"')
    assert gone.outcome == Abandoned()
    assert next_one.outcome == Answered(b'"for the next"', stage.actors[0].replica.name)
    assert counts(pool)["processed"] == 2


# Waiting, and its end.


def test_busy_has_retry_after(stage: Stage) -> None:
    """Busy comes after request_timeout, with at least a second in Retry-After."""
    pool = stage.serving(request_timeout=30.0)
    held, runs = Caller().submit(pool), Caller().submit(pool)
    stage.pass_time(15.0)
    late = Caller().submit(pool)
    stage.pass_time(5.0)
    stage.actors[0].answer()  # `runs` gets the place and keeps it
    stage.pass_time(24.9)
    assert late.outcomes == []
    assert isinstance(held.outcome, Answered)
    stage.pass_time(0.2)
    assert isinstance(late.outcome, Busy)
    assert runs.outcomes == []
    assert late.outcome.retry_after >= 1
    assert pool.statistics().busy == 1
    pool.verify()


@pytest.mark.parametrize("bound", [{"max_queued_requests": 2}, {"max_queued_bytes": 20}])
def test_full_queue_refuses_at_once(stage: Stage, bound: dict[str, int]) -> None:
    """A request beyond the bound in number or bytes gets Busy without a wait."""
    pool = stage.serving(**bound)
    waiting = [Caller(b"[0000000]", f"flow {number}").submit(pool) for number in range(3)]
    refused = Caller(b"[0000000]").submit(pool)
    assert isinstance(refused.outcome, Busy)
    assert refused.outcome.retry_after >= 1
    assert [caller.outcomes for caller in waiting] == [[], [], []]
    assert pool.statistics().queue_full == 1


def test_pools_share_the_total_budget(stage: Stage) -> None:
    """The budget that waiting tickets of one pool use is not free for another until they leave."""
    stage.budget = QueueBudget(3, 300)
    first, second = stage.serving(), stage.serving()
    for pool in (first, second):
        Caller().submit(pool)
        Caller().submit(pool)
    refused = Caller(flow="another").submit(second)
    assert isinstance(refused.outcome, Busy)
    assert "all models" in refused.outcome.reason
    first.drain()
    assert Caller(flow="another").submit(second).outcomes == []


def test_changed_bounds_apply_to_new_requests(stage: Stage) -> None:
    """Changed bounds apply to requests that come later; waiting requests keep the old ones."""
    pool = stage.serving(request_timeout=30.0, max_queued_requests=100)
    before = [Caller().submit(pool) for _ in range(2)]
    pool.adjust(msgspec.structs.replace(pool.spec, request_timeout=1.0, max_queued_requests=2))
    pool.verify()
    after = [Caller(flow=f"new {number}").submit(pool) for number in range(2)]
    assert isinstance(after[1].outcome, Busy)
    stage.pass_time(2.0)
    assert isinstance(after[0].outcome, Busy)
    assert [caller.outcomes for caller in before] == [[], []]


def test_caller_with_many_requests_does_not_delay_others(stage: Stage) -> None:
    """Beside a caller with 200 outstanding requests, another waits only for the prediction that
    runs."""
    pool = stage.serving()
    for _ in range(200):
        Caller(b'"many"', "many").submit(pool)
    for _ in range(5):
        Caller(b'"one"', "one").submit(pool)
        stage.pass_time(0.5)
        stage.actors[0].answer()
        assert stage.actors[0].hear()[-1][2] == b'"one"'
        stage.pass_time(0.5)
        stage.actors[0].answer()
        assert stage.actors[0].hear()[-1][2] == b'"many"'


def test_replica_gets_its_next_request_before_the_answer_is_delivered(stage: Stage) -> None:
    """When the caller gets its outcome, the next request has been sent already."""
    pool = stage.serving()
    sent: list[bytes] = []
    caller = Caller()
    caller.ticket.on_outcome = lambda _: sent.append(stage.actors[0].hear()[-1][2])
    caller.submit(pool)
    Caller(b'"next"').submit(pool)
    stage.actors[0].answer()
    assert sent == [b'"next"']


@pytest.mark.parametrize(("limit", "waits"), [(0.0, 0.0), (2.5, 2.5), (60.0, 30.0)])
def test_caller_can_only_shorten_its_wait(stage: Stage, limit: float, waits: float) -> None:
    """A request waits for its own limit if that is less than the pool's."""
    pool = stage.serving(request_timeout=30.0)
    Caller().submit(pool)
    Caller(flow="next").submit(pool)
    hasty = Caller(limit=limit).submit(pool)
    stage.pass_time(1.0)
    stage.actors[0].answer()  # what is next gets the replica and keeps it
    assert bool(hasty.outcomes) == (waits < 1.0)
    if waits > 1.0:
        stage.pass_time(waits - 1.1)
        assert hasty.outcomes == []
        stage.pass_time(0.2)
    assert isinstance(hasty.outcome, Busy)
    assert hasty.outcome.reason == f"no replica came free within {waits:g} s"
    pool.verify()


def test_limit_of_the_caller_bounds_the_wait_only(stage: Stage) -> None:
    """The caller's limit bounds its wait; its prediction has the time of the model."""
    pool = stage.serving(request_timeout=30.0)
    caller = Caller(limit=0.0).submit(pool)
    stage.pass_time(29.0)
    assert caller.outcomes == []
    stage.actors[0].answer()
    assert isinstance(caller.outcome, Answered)


def test_waiting_requests_share_one_timer(stage: Stage) -> None:
    """A thousand waiting requests cost the reactor one timer, and each is refused at its own
    time."""
    pool = stage.serving(request_timeout=30.0, max_queued_requests=2000)
    Caller().submit(pool)
    timers = len(stage.reactor._timers)
    callers: list[Caller] = []
    for _ in range(1000):
        callers.append(Caller(flow=f"{len(callers) % 7}"))
        pool.submit(callers[-1].ticket)
        stage.time += 0.005
    assert len(stage.reactor._timers) == timers + 1
    stage.actors[0].end()  # so that it is not killed for the time it took
    for number, caller in enumerate(callers):
        stage.pass_time(caller.ticket.due - stage.time)
        assert len(caller.outcomes) == 1, f"{number} waits longer than it may"
        assert not any(later.outcomes for later in callers[number + 1 : number + 2])


def test_requests_are_counted_by_outcome(stage: Stage) -> None:
    """Each reason for a request without an answer has its own count."""
    pool = stage.serving(request_timeout=2.0, max_queued_requests=3)
    stage.pass_time(1.0)
    Caller().submit(pool)
    abandoned, late = Caller().submit(pool), Caller(limit=1.0).submit(pool)
    Caller(flow="a").submit(pool), Caller(flow="b").submit(pool)
    abandoned.ticket.abandon()
    late.ticket.abandon()
    Caller(limit=1.0).submit(pool)
    stage.pass_time(1.5)
    stage.pass_time(0.6)
    stage.actors[0].end("was killed by SIGKILL")
    pool.drain()
    Caller().submit(pool)
    statistics = pool.statistics()
    assert statistics.queue_full == 1
    assert statistics.waited_too_long == 1
    assert statistics.abandoned == 2
    assert statistics.timed_out == 1
    assert statistics.busy == 2
    assert statistics.not_ready == 2


def test_retry_after_grows_with_the_queue(stage: Stage) -> None:
    """Retry-After is the time that the queue takes at the present pace, never more than the
    time-out."""
    pool = stage.serving(max_queued_requests=10, request_timeout=60.0)
    for _ in range(50):
        Caller().submit(pool)
        stage.pass_time(2.0)
        stage.actors[0].answer()
    for _ in range(11):
        Caller().submit(pool)
    refused = Caller().submit(pool).outcome
    assert isinstance(refused, Busy)
    assert 15 <= refused.retry_after <= 60


def test_caller_of_a_model_that_was_never_ready_gets_not_ready(stage: Stage) -> None:
    """The caller of a model that does not get ready gets that as the reason, and not that it is
    busy."""
    pool = stage.open_pool(request_timeout=3.0)
    caller = Caller().submit(pool)
    stage.pass_time(2.9)
    assert caller.outcomes == []
    stage.pass_time(0.2)
    assert isinstance(caller.outcome, NotReady)
    assert pool.statistics().not_ready == 1


def test_request_that_cannot_be_served_in_time_is_refused_at_once(stage: Stage) -> None:
    """When nothing runs and no replica will start before the request would expire, the request is
    refused at once with Retry-After."""
    pool = stage.open_pool(start_tries=0, request_timeout=3.0)
    patient, hasty = Caller().submit(pool), Caller(limit=0.5).submit(pool)
    fail_to_start(stage)
    stage.pass_time(0.25)
    fail_to_start(stage)  # the next start is in half a second
    assert hasty.outcome == NotReady(
        "no replica of the model runs, and the next will be started too late", 1
    )
    assert patient.outcomes == []
    assert isinstance(Caller(limit=0.4).submit(pool).outcome, NotReady)
    assert Caller(limit=0.6).submit(pool).outcomes == []
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0):
        stage.pass_time(pause)
        fail_to_start(stage)
    pool.verify()
    stage.pass_time(1.0)
    assert Caller().submit(pool).outcome == NotReady(
        "no replica of the model runs, and the next will be started too late", 15
    )


def test_retry_after_has_the_duration_of_the_last_start(stage: Stage) -> None:
    """A caller that is refused while a replica starts gets the time until it is ready, if the start
    takes as long as the last."""
    pool = stage.open_pool(request_timeout=2.0)
    stage.pass_time(7.0)
    stage.actors[0].get_ready()
    stage.pass_time(10.0)
    stage.actors[0].end()
    caller = Caller().submit(pool)
    stage.pass_time(2.0)
    assert isinstance(caller.outcome, NotReady)
    assert caller.outcome.retry_after == 5


def test_retry_after_without_measurements_uses_the_running_prediction(stage: Stage) -> None:
    """Before anything was measured, predictions are taken to last at least as long as the one that
    runs."""
    pool = stage.serving(request_timeout=30.0)
    Caller().submit(pool)
    Caller().submit(pool)
    hasty = Caller(limit=4.0).submit(pool)
    stage.pass_time(4.0)
    assert isinstance(hasty.outcome, Busy)
    assert hasty.outcome.retry_after == 8


def test_request_before_the_first_start_is_served(stage: Stage) -> None:
    """A request may come before the model is ready."""
    pool = stage.open_pool()
    caller = Caller().submit(pool)
    stage.actors[0].get_ready()
    stage.actors[0].answer()
    assert isinstance(caller.outcome, Answered)


# What ends a replica.


def test_exception_starts_the_successor_first(stage: Stage) -> None:
    """The successor's start begins before the error is sent, without a pause."""
    pool = stage.serving()
    launched: list[int] = []
    caller = Caller()
    caller.ticket.on_outcome = lambda _: launched.append(len(stage.actors))
    caller.submit(pool)
    stage.actors[0].raise_()
    assert launched == [2]
    assert isinstance(caller.ticket.outcome, Raised)
    assert stage.actors[0].told_to_end
    assert counts(pool)["restart"] == 1
    pool.verify()


def test_exception_without_restart_on_exception_keeps_the_replica(stage: Stage) -> None:
    """Without restart_on_exception the replica still serves."""
    pool = stage.serving(restart_on_exception=False)
    Caller().submit(pool)
    stage.actors[0].raise_()
    next_one = Caller().submit(pool)
    stage.actors[0].answer()
    assert isinstance(next_one.outcome, Answered)
    assert len(stage.actors) == 1


def test_restarts_are_counted_by_flow(stage: Stage) -> None:
    """A request that raised, died or timed out counts for its flow; an answered one does not."""
    pool = stage.serving(request_timeout=2.0)
    deeds: list[tuple[str, Callable[[Actor], object]]] = [
        ("one", lambda actor: actor.raise_()),
        ("two", lambda actor: actor.end("was killed by SIGSEGV")),
        ("two", lambda actor: stage.pass_time(2.1)),
        ("good", lambda actor: actor.answer()),
    ]
    for flow, deed in deeds:
        Caller(flow=flow).submit(pool)
        deed(stage.actors[-1])
        if flow != "good":
            stage.actors[-1].get_ready()
    assert pool.statistics().restarts_by == {"two": 2, "one": 1}
    assert counts(pool)["restart"] == 3


def test_flows_with_counted_restarts_are_bounded(stage: Stage) -> None:
    """With ever new callers, those with the fewest restarts are forgotten."""
    pool = stage.serving()
    for number in [0, 0, *range(1, 150)]:
        Caller(flow=str(number)).submit(pool)
        stage.actors[-1].raise_()
        stage.actors[-2].end()
        stage.actors[-1].get_ready()
    counted = pool.statistics().restarts_by
    assert len(counted) == 100
    assert counted["0"] == 2


def test_poisoned_input_never_delays_the_next_start(stage: Stage) -> None:
    """However often requests end replicas, the next replica starts at once."""
    pool = stage.serving()
    for _ in range(50):
        caller = Caller().submit(pool)
        stage.actors[-1].end("exited with status 1")
        assert isinstance(caller.outcome, Died)
        stage.actors[-1].get_ready()
    assert stage.time == 0.0
    assert len(stage.actors) == 51
    assert pool.ready == 1


def test_replica_that_dies_is_reported_and_replaced_at_once(stage: Stage) -> None:
    """The caller gets the exit status of the process; waiting requests are served by the
    successor."""
    pool = stage.serving()
    caller, waits = Caller().submit(pool), Caller().submit(pool)
    stage.actors[0].hang_up()  # the pipe tells first, the status comes later
    assert caller.outcomes == []
    stage.actors[0].end("was killed by SIGSEGV")
    replica = stage.actors[0].replica
    failed = replica.failed_request
    assert caller.outcome == Died("the process was killed by SIGSEGV", replica.name, failed)
    assert len(stage.actors) == 2
    stage.actors[1].get_ready()
    stage.actors[1].answer()
    assert isinstance(waits.outcome, Answered)
    assert pool.statistics().slots[0].last_exit == "the process was killed by SIGSEGV"
    pool.verify()


def test_a_prediction_past_its_time_is_killed(stage: Stage) -> None:
    """At request_timeout the process is killed, the caller told, the successor started."""
    pool = stage.serving(request_timeout=2.0)
    caller = Caller().submit(pool)
    stage.pass_time(1.9)
    assert not stage.actors[0].process.killed
    stage.pass_time(0.2)
    replica = stage.actors[0].replica
    assert caller.outcome == TimedOut(2.0, replica.name, request_id=replica.failed_request)
    assert stage.actors[0].process.killed
    assert len(stage.actors) == 2
    assert counts(pool) == {
        "received": 1, "processed": 1, "success": 0, "failure": 0, "error": 1, "restart": 1,
    }  # fmt: skip


def test_idle_replica_with_a_closed_pipe_gets_no_request(stage: Stage) -> None:
    """Between the end of its pipe and the end of its process a replica gets no ticket."""
    pool = stage.serving()
    stage.actors[0].hang_up()
    pool.verify()
    caller = Caller().submit(pool)
    stage.actors[0].end("exited with status 7")
    stage.pass_time(0.25)
    stage.actors[1].get_ready()
    stage.actors[1].answer()
    assert isinstance(caller.outcome, Answered)


def test_idle_replica_that_sends_an_answer_is_ended(stage: Stage) -> None:
    """An unasked answer ends a replica, and it gets no more tickets."""
    pool = stage.serving()
    stage.actors[0].answer(b"1", request_id=0)
    assert stage.actors[0].process.killed
    caller = Caller().submit(pool)
    assert caller.outcomes == []


@pytest.mark.parametrize("outcome", ["answer", "ready"])
def test_ended_replica_gets_no_request(stage: Stage, outcome: str) -> None:
    """The last message of an ended process counts, but the replica gets no request."""
    pool = stage.open_pool(start_tries=0)
    first, second = Caller().submit(pool), Caller().submit(pool)
    actor = stage.actors[0]
    if outcome == "answer":
        actor.get_ready()
        actor.write(b"\x01\0\0\0\x13\x01\0\0\0\0\0\0\x001")
    else:
        actor.enter()
        actor.write(wire.encode(wire.Ready(0.1)))
    actor.end()
    pool.verify()
    stage.pass_time(0.25)
    stage.actors[1].get_ready()
    while not second.outcomes:
        stage.actors[1].answer()
    assert isinstance(first.outcome, Answered)
    assert isinstance(second.outcome, Answered)


# Take-over and the end.


def test_waiting_requests_move_with_their_deadline(stage: Stage) -> None:
    """The new pool serves the waiting requests of the old one, and no wait starts again."""
    old = stage.serving(request_timeout=10.0)
    held, served, late = (Caller().submit(old) for _ in range(3))
    stage.pass_time(6.0)
    new = stage.serving(request_timeout=10.0)
    new.take_over(old)
    old.drain()
    old.verify()
    new.verify()
    stage.actors[0].answer()
    stage.pass_time(4.1)
    assert isinstance(held.outcome, Answered)
    assert isinstance(late.outcome, Busy)
    stage.actors[1].answer()
    assert isinstance(served.outcome, Answered)
    stage.actors[0].end()
    assert old.closed.is_set()


@pytest.mark.parametrize("bounds", [(9, 1000), (100, 90), (2, 1000), (9, 20)])
@pytest.mark.parametrize("of_all", [False, True])
def test_full_queue_moves_whole(stage: Stage, bounds: tuple[int, int], of_all: bool) -> None:
    """Every accepted ticket, of any flow, keeps waiting in the new pool, with any bounds of the
    pool or of all pools; only new callers are refused."""
    full: dict[str, Any] = {"max_queued_requests": 9, "max_queued_bytes": 90}
    now: dict[str, Any] = dict(zip(full, bounds, strict=True))
    old = stage.serving(**({} if of_all else full))
    if of_all:
        stage.budget.resize(9, 90)
        old.budget_resized()
    held = Caller().submit(old)
    waiting = [Caller(b"x" * 10, f"flow {n // 4}").submit(old) for n in range(12)]
    refused = [caller for caller in waiting if caller.outcomes]
    assert all(isinstance(caller.outcome, Busy) for caller in refused)
    waiting = [caller for caller in waiting if not caller.outcomes]
    assert len(waiting) >= 8
    new = stage.open_pool(**({} if of_all else now))
    if of_all:
        stage.budget.resize(*bounds)
        for pool in (old, new):
            pool.budget_resized()
    new.take_over(old)
    old.drain()
    for pool in (old, new):
        pool.verify()
    assert [caller.outcomes for caller in waiting] == [[]] * len(waiting)
    assert isinstance(Caller(b"x" * 10, "another").submit(new).outcome, Busy)
    stage.actors[-1].get_ready()
    for _ in waiting:
        stage.actors[-1].answer()
    assert all(isinstance(caller.outcome, Answered) for caller in waiting)
    stage.actors[0].answer()
    assert isinstance(held.outcome, Answered)
    assert stage.budget.free == stage.budget.size


def test_moved_requests_keep_their_order(stage: Stage) -> None:
    """Of two flows the one that waits longer is served first, whichever the old pool knew first."""
    old = stage.serving()
    Caller(flow="b").submit(old)
    first = Caller(flow="a").submit(old)
    stage.pass_time(0.1)
    second = Caller(flow="b").submit(old)
    new = stage.open_pool()
    new.take_over(old)
    stage.actors[1].get_ready()
    stage.actors[1].answer()
    assert isinstance(first.outcome, Answered)
    assert second.outcomes == []


def test_request_that_expires_at_the_next_start_is_refused(stage: Stage) -> None:
    """A request that expires at the very moment of the next start is refused at once."""
    pool = stage.open_pool(start_tries=0)
    fail_to_start(stage)
    assert isinstance(Caller(limit=0.25).submit(pool).outcome, NotReady)
    assert Caller(limit=0.26).submit(pool).outcomes == []


async def test_cancelled_predict_leaves_the_queue(stage: Stage) -> None:
    """A cancelled call of `predict` frees its part of the queue; if it runs, its answer is
    dropped."""
    pool = stage.serving()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as callers:
            for _ in range(2):
                callers.start_soon(pool.predict, b"{}")
            await wait_all_tasks_blocked()
            assert pool.statistics().waiting == 1
            scope.cancel()
    assert pool.statistics().waiting == 0
    assert stage.budget.free == stage.budget.size
    stage.actors[0].answer()
    after = Caller().submit(pool)
    stage.actors[0].answer()
    assert isinstance(after.outcome, Answered)


def test_closing_pool_refuses_moved_requests(stage: Stage) -> None:
    """A closing pool refuses the requests that it is given instead of letting them wait."""
    old, closing = stage.serving(), stage.serving()
    held, waits = Caller().submit(old), Caller().submit(old)
    closing.drain()
    closing.take_over(old)
    assert isinstance(waits.outcome, NotReady)
    assert held.outcomes == []


def test_drain_lets_predictions_finish(stage: Stage) -> None:
    """drain accepts no more requests, lets each replica answer, and closes when none is left."""
    pool = stage.serving(2)
    held = Caller().submit(pool)
    pool.drain()
    assert stage.actors[1].told_to_end
    assert isinstance(Caller().submit(pool).outcome, NotReady)
    stage.pass_time(20.0)
    stage.actors[0].answer()
    assert isinstance(held.outcome, Answered)
    assert not pool.closed.is_set()
    stage.actors[0].end()
    stage.actors[1].end()
    assert pool.closed.is_set()
    assert len(stage.actors) == 2


def test_stop_kills_predictions_after_its_grace(stage: Stage) -> None:
    """stop kills predictions that still run after STOP_GRACE; their callers get that they were
    stopped."""
    pool = stage.serving()
    held = Caller().submit(pool)
    pool.stop()
    stage.pass_time(STOP_GRACE - 0.1)
    assert held.outcomes == []
    stage.pass_time(0.2)
    assert held.outcome == NotReady("the model was stopped")
    assert stage.actors[0].process.killed
