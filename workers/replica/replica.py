"""A replica: one process of a model, one prediction at a time, and the pipes to talk with it.

The laws:
- Once the first byte of a request is written there are two ends: the whole conversation, or the
  process is killed. A replica whose last conversation is unknown is never used again.
- An answer whose id is not the outstanding one kills the replica and is delivered to nobody.
- A ticket that it holds gets its outcome from here, in every case.
- An answer is given to a caller when it is known to be JSON. A small one is looked at here, a large
  one by a process of ours, and the replica stays busy until that has said so.
- Metrics of a prediction are passed on if its caller got the answer, after that, and else never.

A plain state machine on the reactor: nothing here awaits. `keep` (in supervisor.py) makes the
process and cleans up after it; `Pool` (in pool.py) decides what happens next.
"""

import os
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from workers.errors import StartFailed, WireError
from workers.limits import Cause, ExitReason
from workers.process.limit_monitor import MonitoredTree
from workers.process.process import Process
from workers.reactor.reactor import READABLE, WRITABLE
from workers.reactor.timers import MovableTimer, Timer
from workers.replica import wire
from workers.replica.lifecycle import (
    ANSWERED,
    ASSIGNED,
    BUSY,
    EXITED,
    GONE,
    IDLE,
    KILL,
    READY,
    STARTING,
    STOP,
    STOPPING,
    advance,
)
from workers.replica.ticket import Answered, Died, Outcome, Raised, Refused, Ticket, TimedOut
from workers.spec import ReplicaSpec

# How long an orderly end (its pipe closed, `atexit` handlers running) may take before SIGKILL.
EXIT_GRACE = 1.0
# How long a process may live on after its end of the pipe was closed.
_END_OF_PIPE_GRACE = 0.2
# Reading into more than is needed costs time; a pipe holds 64 KiB.
_READ = 4 * 1024
_READ_ON = 64 * 1024


_ANSWERS = (wire.Answer, wire.Raised, wire.Refused)
# Whatever a replica says then is of no use to anybody.
_OVER = (STOPPING, GONE)


class EventLoop(Protocol):
    """What a replica and a pool need of the reactor."""

    working: int

    def now(self) -> float: ...
    def call_at(self, due: float, call: Callable[[], object]) -> Timer: ...
    def alarm(self, call: Callable[[], object]) -> MovableTimer: ...
    def register(self, fd: int, events: int, handler: Callable[[int], None]) -> None: ...
    def modify(self, fd: int, events: int) -> None: ...
    def unregister(self, fd: int) -> None: ...


Checked = Callable[[Outcome | None, str], None]
# Has a large answer of the replica of this name looked at elsewhere, then calls back: with an
# outcome for the caller where that could not be done, else with what is wrong ("": nothing).
Check = Callable[[bytes | bytearray, str, Checked], None]


class ReplicaOwner(Protocol):
    """What a replica tells its pool, from the reactor's callbacks. `check_answer` looks at answers
    that are too large to be looked at here; without one they are looked at here."""

    check_answer: Check | None

    def replica_ready(self, replica: "Replica") -> None: ...
    def replica_settled(
        self, replica: "Replica", ticket: Ticket, outcome: Outcome, now: float
    ) -> None: ...
    def replica_tracked(self, body: bytes | bytearray) -> None: ...
    def replica_leaving(self, replica: "Replica") -> None: ...
    def replica_gone(self, replica: "Replica") -> None: ...
    def replica_cleaned(self, replica: "Replica") -> None: ...


class StopReason(Enum):
    """Why a replica ended, where that was our doing."""

    STOPPED = "it was stopped"
    TIMED_OUT = "a prediction ran past its time"
    FAILED = "its model file failed"
    RAISED = "its function raised"
    START_TIMED_OUT = "it was not ready in time"
    WIRE = "it broke the conversation with the gateway"
    OVER = "it met a limit"
    SERVED = "it had served as many requests as it may"
    GREW = "it had grown above the memory that it may have"


class Replica:
    """`name` is what clients see as ReplicaID; it stays when the process is replaced."""

    def __init__(self, name: str, spec: ReplicaSpec, clock: EventLoop, owner: ReplicaOwner) -> None:
        self.name = name
        self.spec = spec
        self.state = STARTING
        self.why: StopReason | None = None
        # What was wrong with what it said, where it broke the conversation.
        self.wrong = ""
        # Why it ends when it has answered, where it was told to.
        self._leaves_because = StopReason.STOPPED
        self.failure: StartFailed | None = None
        self.said = ""
        # The limit that it met, and so ended or was too late.
        self.cause: Cause | None = None
        self.monitored: MonitoredTree | None = None
        self.ticket: Ticket | None = None
        self.process: Process | None = None
        self.started_at = clock.now()
        self.ready_at: float | None = None
        self._clock = clock
        # Whether it was not started since the machine lacked something (shortages.py).
        self.lacked = False
        self._owner = owner
        self._reader = wire.FrameReader(spec.max_response_size)
        self._request_id = 0
        self.assigned_at = 0.0
        # The large answer that is being checked.
        self._unchecked: bytes | bytearray | None = None
        # What it has told of the prediction whose answer is on its way.
        self._tracked: bytes | bytearray | None = None
        self._read_fd = self._write_fd = -1
        self._read_size = _READ
        self._unsent: list[memoryview] = []
        self._awaits_room = False
        # One deadline at a time: to be ready, to answer, or to end.
        self._deadline = clock.alarm(self._on_deadline)
        # Set when it closed its end of the pipe: by when its process has to have ended.
        self._hung_up: Timer | None = None
        self._deadline.set(self.started_at + spec.start_timeout)

    def __repr__(self) -> str:
        pid = self.process.pid if self.process else "-"
        return f"<Replica {self.name} pid={pid} {self.state.value}>"

    # The process, given and taken away by the keeper.

    def attach(self, started: Process, read_fd: int, write_fd: int, root: str) -> None:
        """The process runs: tells it what to be. Takes over both descriptors, or raises OSError."""
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self._clock.register(read_fd, READABLE, self._on_readable)
        self.process = started
        self._read_fd, self._write_fd = read_fd, write_fd
        spec = self.spec
        start = wire.Start(
            spec.file,
            spec.function,
            root,
            spec.max_response_size,
            spec.raw,
            spec.crns,
        )
        self._send(wire.encode(start))

    def exited(self, verdict: ExitReason) -> None:
        """The process has ended, or could not be made."""
        self.process = None  # its id may be somebody else's by now
        if self.state is BUSY:
            self._stop_accepting()
        self._on_readable(READABLE)  # what it said last still counts
        self._close_pipes()
        self._deadline.close()
        if self._hung_up is not None:
            self._hung_up.cancel()
        if self.why is not StopReason.OVER:
            self.said, self.cause = verdict.said, self.cause or verdict.cause
        if self.ready_at is None and self.failure is None:
            text = f"the model did not become ready: {self.ending}"
            self.failure = StartFailed(text, cause=self.cause)
        self.state = advance(self.state, EXITED)
        self._settle(Died(f"the process {self.said}", self.name))
        self._owner.replica_gone(self)

    @property
    def ending(self) -> str:
        """Why it ended, in words."""
        if self.why is None or self.why is StopReason.OVER:
            return f"the process {self.said}"
        return ": ".join(filter(None, (self.why.value, self.wrong)))

    def cleaned(self) -> None:
        """Nothing of the process is left: no child of it, no working copy."""
        self._owner.replica_cleaned(self)

    @property
    def requests(self) -> int:
        """How many it has been given."""
        return self._request_id

    # What the pool asks for.

    def assign(self, ticket: Ticket, now: float, due: float) -> None:
        """Sends the request of `ticket`, now; its outcome follows by `due`."""
        self.state = advance(self.state, ASSIGNED)
        self.ticket = ticket
        self.assigned_at = now
        self._clock.working += 1
        self._request_id += 1
        self._deadline.set(due)
        request = ticket.request
        if len(request) < _READ_ON:
            self._send(wire.encode_request(request, self._request_id))
        else:  # more than the pipe takes at once; a copy of 5 MB costs some 3 ms
            header = wire.request_header(len(request), self._request_id)
            self._send_on(memoryview(header), memoryview(request))
            if self._unsent:
                self._on_writable(WRITABLE)

    def stop(self, why: StopReason = StopReason.STOPPED) -> None:
        """An orderly end: it finishes the ticket it holds, then its pipe is closed."""
        if self.state in (STOPPING, GONE):
            return
        if self.state is STARTING:
            # Running the model file it would not notice the end of its pipe, and owes nothing yet.
            self.kill(StopReason.STOPPED)
            return
        self._stop_accepting()
        self._leaves_because = why
        if self.ticket is None:
            self._end_orderly(why)

    def kill(self, why: StopReason, outcome: Outcome | None = None) -> None:
        """An end at once; the ticket it holds gets `outcome`, or Died."""
        if self.state is GONE:
            return
        self.why = self.why or why
        self.state = advance(self.state, KILL)
        self._owner.replica_leaving(self)
        self._close_pipes()
        self._deadline.clear()
        if self.process is not None:
            self.process.kill()
        self._settle(outcome or Died(f"the replica was ended because {self.ending}", self.name))

    def kill_for_limit(self, verdict: ExitReason) -> None:
        """It was found beyond a limit that the kernel does not hold."""
        if self.state not in _OVER:
            self.said, self.cause = verdict.said, verdict.cause
            self.kill(StopReason.OVER, Died(f"the process {verdict.said}", self.name))

    # Callbacks.

    def _on_readable(self, events: int) -> None:
        if self._read_fd < 0:
            return
        try:
            # Once: whoever writes without end must not keep the reactor here.
            data = os.read(self._read_fd, self._read_size)
            if not data:
                self._on_end_of_pipe()
                return
            answer = self._reader.whole_answer(data)
            if answer is not None and self.ticket is not None and answer[0] == self._request_id:
                self._answer(answer[1])
                return
            told = self._reader.whole_tracked(data) if self._tracked is None else None
            if told is not None and self.ticket is not None and told[0] == self._request_id:
                self._tracked = told[1]
                self._answer(told[2])
                return
            for request_id, message in self._reader.feed(data):
                self._receive(request_id, message)
            self._read_size = _READ_ON if self._reader.midway else _READ
        except BlockingIOError:
            return
        except WireError as error:
            self._break_off(str(error))

    def _on_end_of_pipe(self) -> None:
        """It ended, or closed the pipe. The keeper tells the first, with its status, very soon.

        Until then it holds what it holds, so that its caller hears the status (gotcha G3).
        """
        self._close_pipes()
        if self.state in (IDLE, BUSY):
            self._stop_accepting()
        due = self._clock.now() + _END_OF_PIPE_GRACE
        self._hung_up = self._clock.call_at(due, lambda: self.kill(StopReason.WIRE))

    def _stop_accepting(self) -> None:
        self.state = advance(self.state, STOP)
        self._owner.replica_leaving(self)

    def _receive(self, request_id: int, message: wire.FromReplica) -> None:
        if self.state in _OVER:
            return
        if isinstance(message, _ANSWERS):
            if self.ticket is None or request_id != self._request_id:
                raise WireError(f"an answer to request {request_id}, which is not outstanding")
            if isinstance(message, wire.Answer):
                self._answer(message.body)
            else:
                self._answered(self._outcome(message))
        elif isinstance(message, wire.Tracked):
            if self.ticket is None or request_id != self._request_id or self._tracked is not None:
                raise WireError(f"metrics of request {request_id}, which are not expected")
            self._tracked = message.body
        else:
            self._receive_at_start(message)

    def _receive_at_start(self, message: wire.Hello | wire.Ready | wire.Failed) -> None:
        match message:
            case _ if self.state is not STARTING:
                raise WireError(f"{type(message).__name__} while it is {self.state.value}")
            case wire.Hello():
                if message.protocol != wire.PROTOCOL:
                    raise WireError(f"protocol {message.protocol} instead of {wire.PROTOCOL}")
                if self.process is not None:
                    self.process.know_command()
            case wire.Failed():
                self.failure = StartFailed(f"{message.type}: {message.message}", message.traceback)
                # It ends by itself, unless a thread of the model's keeps it.
                self._deadline.set(self._clock.now() + EXIT_GRACE)
            case wire.Ready() if self.process is not None:
                self.state = advance(self.state, READY)
                self.ready_at = self._clock.now()
                if self.monitored is not None:
                    # How long its start was throttled does not count for a request.
                    self.monitored.look_at_time()
                self._deadline.clear()
                self._owner.replica_ready(self)
            case wire.Ready():
                pass  # and ended: it is of no use to anybody

    def _answer(self, body: bytes | bytearray) -> None:
        """The answer has come; its caller gets it once it is known to be one."""
        if self._unchecked is not None:
            raise WireError("a second answer to the same request")
        check = self._owner.check_answer
        if len(body) <= wire.CHECKED_HERE or check is None:
            wire.check_json(body)
            self._answered(Answered(body, self.name))
            return
        self._deadline.clear()
        self._unchecked = body
        check(body, self.name, self._checked)

    def _checked(self, outcome: Outcome | None, wrong: str) -> None:
        body, self._unchecked = self._unchecked, None
        if body is None or self.ticket is None:
            return
        if wrong:
            self._break_off(f"its answer is not JSON: {wrong}")
            return
        self._answered(outcome or Answered(body, self.name))

    def _break_off(self, wrong: str) -> None:
        self.wrong = wrong
        self.kill(StopReason.WIRE)

    def _outcome(self, message: wire.Raised | wire.Refused) -> Outcome:
        if isinstance(message, wire.Raised):
            because = self.monitored.why_raised() if self.monitored else ""
            if because:
                self.cause = Cause.PROCESSES
            text = f"{message.message} ({because})" if because else message.message
            return Raised(message.type, text, self.name)
        return Refused(message.message, self.name)

    def _answered(self, outcome: Outcome) -> None:
        self._deadline.clear()
        if self._unsent:
            raise WireError("an answer before the request was read")
        self.state = advance(self.state, ANSWERED)
        if self.state is STOPPING:
            self._end_orderly(self._leaves_because)
        self._settle(outcome)

    def _on_deadline(self) -> None:
        """What it had to do by its deadline was not done."""
        if self.ticket is not None:
            seconds = round(self._clock.now() - self.assigned_at, 3)
            because = self.monitored.why_late(seconds) if self.monitored else ""
            if because:
                self.cause = Cause.CPU
            self.kill(StopReason.TIMED_OUT, TimedOut(seconds, self.name, because))
        elif self.state is not STARTING:
            if self.process is not None:
                self.process.kill()
        elif self.failure is not None:
            self.kill(StopReason.FAILED)
        else:
            limit = self.spec.start_timeout
            because = self.monitored.why_late(limit) if self.monitored else ""
            if because:
                self.cause = Cause.CPU
            text = "; ".join(filter(None, (f"the model was not ready within {limit:g} s", because)))
            self.failure = StartFailed(text, cause=self.cause)
            self.kill(StopReason.START_TIMED_OUT)

    # The pipes.

    def _settle(self, outcome: Outcome) -> None:
        ticket, self.ticket = self.ticket, None
        self._unchecked = None
        # Taken off before its owner gives it the next ticket.
        tracked, self._tracked = self._tracked, None
        if ticket is not None:
            self._clock.working -= 1
            self._owner.replica_settled(self, ticket, outcome, self._clock.now())
            # Metrics are of answers that somebody got, one for one.
            if tracked is not None and ticket.outcome is outcome and isinstance(outcome, Answered):
                self._owner.replica_tracked(tracked)

    def _send(self, frame: bytes) -> None:
        try:
            sent = os.write(self._write_fd, frame)
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:
            self._on_end_of_pipe()
            return
        if sent < len(frame):
            self._send_on(memoryview(frame)[sent:])

    def _send_on(self, *pieces: memoryview) -> None:
        """Sends them as there is room in the pipe."""
        try:
            self._clock.register(self._write_fd, WRITABLE, self._on_writable)
        except OSError as error:  # the kernel has no memory to watch one more
            self._break_off(f"its pipe cannot be watched: {error.strerror}")
            return
        self._unsent.extend(pieces)
        self._awaits_room = True

    def _on_writable(self, events: int) -> None:
        self._write()
        if not self._unsent and self._awaits_room:
            self._awaits_room = False
            self._clock.unregister(self._write_fd)

    def _write(self) -> None:
        unsent = self._unsent
        try:
            sent = os.writev(self._write_fd, unsent)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._on_end_of_pipe()
            return
        while unsent and sent >= len(unsent[0]):
            sent -= len(unsent.pop(0))
        if unsent:
            unsent[0] = unsent[0][sent:]

    def _end_orderly(self, why: StopReason) -> None:
        """Closes the pipes, by which it knows, and sees to it that it obeys."""
        self._close_pipes()
        if self.process is not None:
            self.why = self.why or why
            self._deadline.set(self._clock.now() + EXIT_GRACE)

    def _close_pipes(self) -> None:
        if self._read_fd < 0:
            return
        self._clock.unregister(self._read_fd)
        self._unsent.clear()
        if self._awaits_room:
            self._awaits_room = False
            self._clock.unregister(self._write_fd)
        os.close(self._read_fd)
        os.close(self._write_fd)
        self._read_fd = self._write_fd = -1
