"""Metrics of predictions: passed on with their answers, 1:1, or not at all."""

import pytest

from tests.support.reactor_stage import Caller, Stage, answer_frame
from workers.replica import wire
from workers.replica.ticket import Answered, Died


def tracked_frame(body: bytes, request_id: int) -> bytes:
    return wire.HEADER.pack(len(body), wire.Tracked.kind, request_id) + body


def test_metrics_come_once_with_the_answer(stage: Stage) -> None:
    """The metrics of each prediction are passed on once, in order, and not mixed with the next
    one's."""
    pool = stage.serving()
    [actor] = stage.actors
    callers = [Caller().submit(pool) for _ in range(3)]
    for number in range(3):
        actor.track(b"%d" % number)
        actor.answer()
    assert stage.tracked == [b"0", b"1", b"2"]
    assert all(isinstance(caller.outcome, Answered) for caller in callers)
    Caller().submit(pool)
    actor.answer()
    assert len(stage.tracked) == 3


def test_caller_gets_its_answer_before_the_metrics(stage: Stage) -> None:
    """The caller has its answer before the metrics are processed."""
    pool = stage.serving()
    order: list[object] = []
    caller = Caller()
    caller.ticket.on_outcome = order.append
    pool.replica_tracked = order.append
    caller.submit(pool)
    stage.actors[0].track(b"told")
    stage.actors[0].answer()
    assert order == [caller.ticket, b"told"]


@pytest.mark.parametrize("cut", range(1, 2 * wire.HEADER.size + 5, 3))
def test_metrics_may_come_in_pieces(stage: Stage, cut: int) -> None:
    """Metrics are passed on wherever the bytes are cut, and not before the answer is complete."""
    pool = stage.serving()
    [actor] = stage.actors
    Caller().submit(pool)
    data = tracked_frame(b"told", actor.asked) + answer_frame(b"1", actor.asked)
    actor.write(data[:cut])
    stage.turn()
    assert stage.tracked == []
    actor.write(data[cut:])
    stage.turn()
    assert stage.tracked == [b"told"]


def test_failed_prediction_has_no_metrics(stage: Stage) -> None:
    """A function that raises and a process that dies leave no metrics, nor do their successors get
    them."""
    pool = stage.serving(restart_on_exception=False)
    [actor] = stage.actors
    Caller().submit(pool)
    actor.track()
    actor.raise_()
    Caller().submit(pool)
    actor.answer()
    dying = Caller().submit(pool)
    actor.track()
    actor.end("was killed by SIGKILL")
    assert isinstance(dying.outcome, Died)
    assert stage.tracked == []


def test_metrics_before_the_end_of_a_process_count(stage: Stage) -> None:
    """Metrics and answer that were written right before the process ended still count."""
    pool = stage.serving()
    [actor] = stage.actors
    caller = Caller().submit(pool)
    actor.write(tracked_frame(b"told", actor.asked) + answer_frame(b"1", actor.asked))
    actor.end("was killed by SIGKILL")
    assert isinstance(caller.outcome, Answered)
    assert stage.tracked == [b"told"]


def test_abandoned_prediction_has_no_metrics(stage: Stage) -> None:
    """A prediction whose caller disconnected has no metrics: no caller knows its uuid."""
    pool = stage.serving()
    [actor] = stage.actors
    caller = Caller().submit(pool)
    caller.ticket.abandon()
    actor.track()
    actor.answer()
    assert stage.tracked == []


@pytest.mark.parametrize("wrong", [-1, 1])
def test_metrics_of_another_request_kill(stage: Stage, wrong: int) -> None:
    """A replica that sends metrics of a request that is not outstanding is killed."""
    pool = stage.serving()
    [actor] = stage.actors
    caller = Caller().submit(pool)
    actor.track(request_id=actor.asked + wrong)
    actor.answer()
    assert actor.process.killed
    assert isinstance(caller.outcome, Died)
    assert stage.tracked == []


def test_metrics_sent_twice_kill(stage: Stage) -> None:
    """A replica that sends metrics twice for one prediction is killed."""
    pool = stage.serving()
    [actor] = stage.actors
    caller = Caller().submit(pool)
    actor.track(b"first")
    actor.track(b"second")
    actor.answer()
    assert actor.process.killed
    assert isinstance(caller.outcome, Died)
    assert stage.tracked == []


def test_metrics_without_a_prediction_kill(stage: Stage) -> None:
    """A replica that sends metrics without a prediction is killed."""
    stage.serving()
    [actor] = stage.actors
    actor.track()
    stage.turn()
    assert actor.process.killed
