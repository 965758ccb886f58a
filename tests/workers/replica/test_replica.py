"""A replica and the far end of its pipes: every way a conversation can go wrong."""

import errno
import os
import re
from collections.abc import Callable, Iterator

import msgspec
import pytest

from tests.faults.matrix import fault
from tests.support.reactor_stage import REPLICA, Actor, Caller, Stage, answer_frame
from workers.reactor.reactor import READABLE
from workers.replica import wire
from workers.replica.interfaces import Check, Checked
from workers.replica.lifecycle import State, StopReason
from workers.replica.replica import EXIT_GRACE, Replica
from workers.replica.ticket import Answered, Busy, Died, Outcome, Raised, Ticket, TimedOut


class Audience:
    """An owner that only listens."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.outcomes: list[Outcome] = []
        self.check_answer: Check | None = None

    def replica_ready(self, replica: Replica) -> None:
        self.heard.append("ready")

    def replica_settled(
        self, replica: Replica, ticket: Ticket, outcome: Outcome, now: float
    ) -> None:
        self.heard.append("settled")
        self.outcomes.append(outcome)

    def replica_tracked(self, body: bytes | bytearray) -> None:
        self.heard.append("tracked")

    def replica_leaving(self, replica: Replica) -> None:
        self.heard.append("leaving")

    def replica_gone(self, replica: Replica) -> None:
        self.heard.append("gone")

    def replica_cleaned(self, replica: Replica) -> None:
        self.heard.append("cleaned")


class Play:
    """One replica, its audience, and the actor who plays its process."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.audience = Audience()
        self.replica = Replica("sample-abcde", REPLICA, stage.reactor, self.audience)
        self.actor = Actor(stage, self.replica)
        stage.actors.append(self.actor)

    def assign(self, request: bytes = b"{}") -> Ticket:
        ticket = Ticket(request, lambda _: None)
        now = self.stage.time
        self.replica.assign(ticket, now, now + 30.0)
        return ticket


@pytest.fixture
def play(stage: Stage) -> Iterator[Play]:
    """A replica that is ready."""
    play = Play(stage)
    play.actor.get_ready()
    yield play
    assert play.replica._writer is None or play.replica.state is not State.GONE


def test_start_is_the_first_frame(play: Play) -> None:
    """START comes first, with the root that the keeper chose."""
    [(kind, number, body)] = play.actor.hear()
    assert (kind, number) == (wire.Start.kind, 0)
    start = msgspec.json.decode(body, type=wire.Start)
    prefix = start.request_prefix
    assert start == wire.Start(
        "model.py", "predict", "/root", REPLICA.max_response_size, False, prefix, REPLICA.crns
    )
    assert re.fullmatch("[0-9a-f]{20}", prefix)


@fault(
    "a wrong id",
    injection="a replica answers another request's id",
    bound="no caller gets it; the replica is killed",
)
@pytest.mark.parametrize("wrong", [0, 1, 3, 2**64 - 1])
def test_answer_with_a_wrong_id_is_not_delivered(play: Play, wrong: int) -> None:
    """An answer with a wrong id kills the replica; the caller gets that its replica died, never
    another's answer."""
    play.assign()
    play.actor.answer()
    play.assign()
    play.actor.answer(b'"stolen"', request_id=wrong)
    assert play.actor.process.killed
    assert isinstance(play.audience.outcomes[-1], Died)
    assert play.replica.stop_reason is StopReason.WIRE


@fault(
    "two answers",
    injection="a replica answers one request twice",
    bound="the second one kills it",
)
def test_second_answer_is_not_delivered(play: Play) -> None:
    """Of two answers in one write the first counts, and the second kills the replica."""
    play.assign()
    play.actor.write(answer_frame(b"1", 1) + answer_frame(b"2", 1))
    play.stage.turn()
    assert play.audience.outcomes == [Answered(b"1", "sample-abcde")]
    assert play.actor.process.killed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b'1},"success":false,"more":{',
        b'1,"success":false',
        b"1 2",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"[1,]",
        b"NaN",
        b"[" * 10_000,
    ],
    ids=lambda body: str(body[:20]),
)
@pytest.mark.parametrize("cut", [0, 7])
def test_answer_that_is_no_json_is_not_delivered(play: Play, body: bytes, cut: int) -> None:
    """An answer that could end the object around it, or is no JSON, ends the conversation."""
    play.assign()
    frame = answer_frame(body, 1)
    play.actor.write(frame[:cut])
    play.stage.turn()
    play.actor.write(frame[cut:])
    play.stage.turn()
    assert play.actor.process.killed
    assert play.replica.stop_reason is StopReason.WIRE
    [outcome] = play.audience.outcomes
    assert isinstance(outcome, Died)
    assert "not JSON" in outcome.reason


class Checks:
    """Takes down what is to be checked, and answers when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes | bytearray, Checked]] = []

    def __call__(self, body: bytes | bytearray, flow: str, checked: Checked) -> None:
        self.calls.append((body, checked))


@pytest.fixture
def checks(play: Play) -> Checks:
    checks = play.audience.check_answer = Checks()
    return checks


LARGE = b'"%b"' % (b"x" * wire.CHECKED_HERE)


def test_large_answer_is_checked_elsewhere(play: Play, checks: Checks) -> None:
    """The caller has a large answer, and the replica is free, when it is known to be JSON; no
    deadline of the prediction runs meanwhile."""
    play.assign()
    play.actor.answer(LARGE)
    [(body, checked)] = checks.calls
    assert (body, play.audience.outcomes, play.replica.state) == (LARGE, [], State.BUSY)
    play.stage.pass_time(31.0)
    checked(None, "")
    assert play.audience.outcomes == [Answered(LARGE, "sample-abcde")]
    assert play.replica.state is State.IDLE
    play.assign()
    play.actor.answer(b"1")
    assert len(checks.calls) == 1


def test_large_answer_that_is_no_json_kills(play: Play, checks: Checks) -> None:
    """The caller gets an error of the model that says what is wrong."""
    play.assign()
    play.actor.answer(LARGE)
    checks.calls[0][1](None, "it ends early")
    assert play.actor.process.killed
    [outcome] = play.audience.outcomes
    assert isinstance(outcome, Died)
    assert "its answer is not JSON: it ends early" in outcome.reason


def test_large_answer_without_a_check_is_retryable(play: Play, checks: Checks) -> None:
    """The caller is told to retry; the replica is not to blame."""
    play.assign()
    play.actor.answer(LARGE)
    checks.calls[0][1](Busy("too many", 3), "")
    assert play.audience.outcomes == [Busy("too many", 3)]
    assert play.replica.state is State.IDLE


def test_second_answer_during_a_check_kills(play: Play, checks: Checks) -> None:
    """A second answer while the first is checked kills, and the result of the check comes too
    late."""
    play.assign()
    play.actor.answer(LARGE)
    play.actor.answer(b"2", request_id=1)
    assert play.actor.process.killed
    [outcome] = play.audience.outcomes
    assert isinstance(outcome, Died)
    checks.calls[0][1](None, "")
    assert play.audience.outcomes == [outcome]


@pytest.mark.parametrize("kind", wire.LARGEST)
def test_frame_above_its_bound_ends_the_replica(play: Play, kind: int) -> None:
    """The error that the caller gets names the frame and its size."""
    play.assign()
    length = wire.LARGEST[kind] + 1
    play.actor.write(wire.HEADER.pack(length, kind, 1))
    play.stage.turn()
    assert play.actor.process.killed
    [outcome] = play.audience.outcomes
    assert isinstance(outcome, Died)
    assert f"{length} bytes; at most {length - 1}" in outcome.reason


def test_answer_before_the_request_was_read_kills(play: Play) -> None:
    """A replica that answers a request before it has read it is out of step."""
    play.actor.hear()
    play.assign(b"x" * 5_000_000)
    play.actor.answer()
    assert play.actor.process.killed
    assert [type(outcome) for outcome in play.audience.outcomes] == [Died]


@pytest.mark.parametrize(
    "message",
    [wire.Ready(1.0), wire.Hello(1, "python", "3", 1), wire.Failed("E", "e", "")],
    ids=lambda message: type(message).__name__,
)
def test_start_frame_after_the_start_kills(play: Play, message: wire.Message) -> None:
    """HELLO, READY and FAILED are sent once, during the start."""
    play.actor.say(message)
    assert play.actor.process.killed


def test_failed_start_with_a_running_thread_is_ended(stage: Stage) -> None:
    """A failed model file is reported with its own reason long before a start may time out, even
    where a thread of the model keeps the process alive."""
    play = Play(stage)
    play.actor.enter()
    play.actor.say(wire.Hello(1, "python", "3", 1))
    play.actor.say(wire.Failed("ValueError", "as told", "the traceback"))
    stage.pass_time(EXIT_GRACE)
    assert play.actor.process.killed
    play.actor.end("was killed by SIGKILL")
    assert play.replica.failure is not None
    assert play.replica.failure.summary == "ValueError: as told"
    assert play.replica.failure.detail == "the traceback"
    assert play.audience.heard[-2:] == ["gone", "cleaned"]


def test_process_is_identified_at_hello(stage: Stage) -> None:
    """The process behind the wrapper is searched at HELLO, when it certainly exists (gotcha
    G17)."""
    play = Play(stage)
    play.actor.enter()
    assert not play.actor.process.is_known
    play.actor.say(wire.Hello(1, "python", "3", 1))
    assert play.actor.process.is_known


def test_unknown_protocol_is_refused(stage: Stage) -> None:
    """A replica with a protocol that the gateway does not know is not started."""
    play = Play(stage)
    play.actor.enter()
    play.actor.say(wire.Hello(99, "python", "4", 1))
    assert play.actor.process.killed


def test_large_request_is_written_in_parts(play: Play) -> None:
    """A request far larger than a pipe arrives whole, however slowly it is read."""
    play.actor.hear()
    request = os.urandom(5_000_000)
    play.assign(request)
    received = bytearray()
    while len(received) < len(request) + wire.HEADER.size:
        received += play.actor.read(70_001)
    assert received[wire.HEADER.size :] == request
    play.actor.answer()
    assert play.audience.outcomes == [Answered(b"1", "sample-abcde")]
    play.assign()
    assert play.actor.hear() == [(wire.PREDICT, 2, b"{}")]


def test_large_answer_is_read_in_parts(play: Play) -> None:
    """An answer far larger than a pipe is put together again."""
    play.assign()
    body = b'"%b"' % os.urandom(2_500_000).hex().encode()
    play.actor.answer(body)
    assert play.audience.outcomes == [Answered(body, "sample-abcde")]


def test_replica_that_closes_its_pipe_and_runs_is_killed(play: Play) -> None:
    """The end of the pipe without the end of the process is a broken conversation."""
    play.assign()
    play.actor.hang_up()
    assert not play.actor.process.killed
    play.stage.pass_time(0.3)
    assert play.actor.process.killed
    assert isinstance(play.audience.outcomes[0], Died)


def test_replica_that_closes_its_pipe_and_ends_has_its_status(play: Play) -> None:
    """The caller gets the status that comes right after the end of the pipe."""
    play.assign()
    play.actor.hang_up()
    play.actor.end("exited with status 3")
    assert play.audience.outcomes == [
        Died("the process exited with status 3", "sample-abcde", play.replica.failed_request)
    ]
    assert play.audience.heard[-3:] == ["settled", "gone", "cleaned"]


def test_answer_in_the_pipe_of_an_ended_process_counts(play: Play) -> None:
    """An answer that is still in the pipe when the process is reaped is delivered."""
    play.assign()
    play.actor.write(answer_frame(b'"last"', 1))
    play.actor.end()
    assert play.audience.outcomes == [Answered(b'"last"', "sample-abcde")]
    assert play.replica.state is State.GONE
    assert play.replica.stop_reason is None


def test_answer_of_a_killed_process_is_dropped(play: Play) -> None:
    """The last output of a killed process is not read: the caller has its outcome."""
    play.assign()
    play.actor.write(answer_frame(b"1", 1))
    play.replica.kill(StopReason.STOPPED)
    play.stage.turn()
    play.actor.end()
    assert [type(outcome) for outcome in play.audience.outcomes] == [Died]


def test_a_prediction_past_its_time_is_killed(play: Play) -> None:
    """The deadline settles the ticket and kills; an answer that comes later is dropped."""
    play.assign()
    play.stage.pass_time(30.0)
    assert play.audience.outcomes == [
        TimedOut(30.0, "sample-abcde", request_id=play.replica.failed_request)
    ]
    assert play.actor.process.killed


def test_start_past_its_time_is_killed(stage: Stage) -> None:
    """The start has a deadline of its own, which is the reported failure."""
    play = Play(stage)
    play.actor.enter()
    stage.pass_time(REPLICA.start_timeout)
    assert play.actor.process.killed
    play.actor.end("was killed by SIGKILL")
    assert "not ready within 60 s" in str(play.replica.failure)


def test_failed_process_leaves_its_reason(stage: Stage) -> None:
    """FAILED, unread until the process is gone, is the reason, with its traceback."""
    play = Play(stage)
    play.actor.enter()
    play.actor.write(wire.encode(wire.Failed("SyntaxError", "invalid", "Traceback ...")))
    play.actor.end("exited with status 1")
    assert play.replica.failure is not None
    assert play.replica.failure.summary == "SyntaxError: invalid"
    assert play.replica.failure.detail == "Traceback ..."


def test_endless_writer_does_not_block_the_reactor(play: Play) -> None:
    """One turn reads from a pipe once, however much is in it."""
    reads = 0
    read = os.read

    def counted(fd: int, size: int) -> bytes:
        nonlocal reads
        reads += fd == play.replica._read_fd
        return read(fd, size)

    play.assign()
    play.actor.write(b"\xff\xff\0\0\x13" + b"\0" * 60_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", counted)
        play.replica._on_readable(READABLE)
    assert reads == 1


ENDINGS: dict[str, Callable[[Play], object]] = {
    "answered": lambda play: play.actor.answer(),
    "raised": lambda play: play.actor.raise_(),
    "refused": lambda play: play.actor.say(wire.Refused("too deep"), 1),
    "another's answer": lambda play: play.actor.answer(request_id=7),
    "junk": lambda play: play.actor.write(b"\xff" * 20),
    "hung up": lambda play: play.actor.hang_up(),
    "ended": lambda play: play.actor.end(),
    "ended with its last words": lambda play: play.actor.write(answer_frame(b"1", 1)),
    "timed out": lambda play: play.stage.pass_time(30.0),
    "killed": lambda play: play.replica.kill(StopReason.STOPPED),
    "stopped": lambda play: play.replica.stop(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_working_replica_is_counted_until_its_conversation_ends(play: Play, ending: str) -> None:
    """However a conversation ends, the reactor counts one working replica less."""
    assert play.stage.reactor.working == 0
    play.assign()
    assert play.stage.reactor.working == 1
    ENDINGS[ending](play)
    assert play.stage.reactor.working == (play.replica.ticket is not None)
    play.stage.turn()
    play.stage.pass_time(0.3)
    play.actor.end()
    assert play.stage.reactor.working == 0
    assert len(play.audience.outcomes) == 1


def test_ended_replica_closes_its_pipes(stage: Stage) -> None:
    """After any kind of end the pipes are closed."""
    for ending in ("kill", "stop", "end", "hang_up"):
        play = Play(stage)
        play.actor.get_ready()
        fds = play.actor.replica_ends
        if ending == "kill":
            play.replica.kill(StopReason.STOPPED)
        elif ending == "stop":
            play.replica.stop()
        elif ending == "hang_up":
            play.actor.hang_up()
        else:
            play.actor.end()
        for fd in fds:
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                os.fstat(fd)
        play.actor.end()


def test_output_after_the_last_answer_is_ignored(stage: Stage) -> None:
    """A replica that was told to end answers its request and ends in its own time, even if it sends
    more in the same write."""
    pool = stage.serving()
    caller = Caller().submit(pool)
    pool.drain()
    [actor] = stage.actors
    # Said in one piece, and so that it is read frame by frame.
    raised = wire.encode(wire.Raised("ValueError", "as told"), actor.asked)
    actor.write(raised + answer_frame(b"1", actor.asked))
    stage.turn()
    assert isinstance(caller.outcome, Raised)
    assert actor.told_to_end
    assert not actor.process.killed
    assert actor.replica.wire_error == ""


def test_a_failed_request_has_the_id_that_the_model_prints(play: Play) -> None:
    """The id of a request that raised is the prefix that START gave and the number of its frame,
    so the model can print it beside the traceback."""
    start = msgspec.json.decode(play.actor.hear()[0][2], type=wire.Start)
    play.assign()
    play.actor.say(wire.Raised("KeyError", "'x'"), 1)
    [outcome] = play.audience.outcomes
    assert isinstance(outcome, Raised)
    assert outcome.request_id == f"{start.request_prefix}{1:012x}"
