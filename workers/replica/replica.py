"""A replica: one process of a model, one prediction at a time, and the pipes to talk to it.

The laws:
- Once the first byte of a request is written there are two ends: the whole conversation, or the
  process is killed. A replica whose last conversation did not complete is never used again.
- An answer whose id is not the outstanding one kills the replica and is not delivered.
- A ticket that a replica has always gets its outcome from here.
- A caller gets an answer only after it is known to be JSON. A small one is checked here, a large
  one by another process of ours; the replica stays busy until that has reported.
- Metrics of a prediction are passed on after its caller got the answer, and only then.

A plain state machine on the reactor: nothing here awaits. `supervise` (supervisor.py) makes the
process and cleans up after it; `Pool` (pool.py) decides what happens next.
"""

import os
import secrets

import trio

from workers.errors import StartFailed, WireError
from workers.limits import Cause, ExitReason
from workers.process.limit_monitor import MonitoredTree
from workers.reactor.reactor import READABLE
from workers.reactor.timers import Timer
from workers.replica import wire
from workers.replica.interfaces import EventLoop, ReplicaOwner, ReplicaProcess
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
    StopReason,
    advance,
)
from workers.replica.request_writer import RequestWriter
from workers.replica.ticket import Answered, Died, Outcome, Raised, Refused, Ticket, TimedOut
from workers.spec import ReplicaSpec

# How long an orderly end (its pipe closed, `atexit` handlers running) may take before SIGKILL.
EXIT_GRACE = 1.0
# How long a process may live after it closed its end of the pipe.
_CLOSED_PIPE_GRACE = 0.2
# A larger buffer than needed costs time; a pipe has 64 KiB.
_READ = 4 * 1024
_READ_LARGE = 64 * 1024
_ANSWERS = (wire.Answer, wire.Raised, wire.Refused)
# Messages from a replica in these states are ignored.
_OVER = (STOPPING, GONE)


class Replica:
    """`name` is what clients see as ReplicaID; it stays when the process is replaced."""

    def __init__(self, name: str, spec: ReplicaSpec, loop: EventLoop, owner: ReplicaOwner) -> None:
        self.name = name
        self.spec = spec
        self.state = STARTING
        self.ticket: Ticket | None = None
        self.process: ReplicaProcess | None = None
        # While it waits for its GPUs.
        self.waiting: trio.CancelScope | None = None
        self.monitored: MonitoredTree | None = None
        self.started_at = loop.now()
        self.ready_at: float | None = None
        self.assigned_at = 0.0
        # How it ended: our reason, its own failure, its exit in words, and the limit that it met.
        self.stop_reason: StopReason | None = None
        self.failure: StartFailed | None = None
        self.exit_text = ""
        self.cause: Cause | None = None
        # How it broke the protocol, where it did.
        self.wire_error = ""
        # Whether it was not started because of a shortage (shortages.py).
        self.was_shortage = False
        self._loop = loop
        self._owner = owner
        self._reader = wire.FrameReader(spec.max_response_size)
        self._writer: RequestWriter | None = None
        self._read_fd = -1
        self._read_size = _READ
        self._request_id = 0
        self._request_prefix = secrets.token_hex(10)
        # The request that it had when it ended, as its caller sees it.
        self.failed_request = ""
        # Why it ends after its answer, where it was asked to.
        self._reason_to_leave = StopReason.STOPPED
        # The large answer that is being checked.
        self._unchecked: bytes | bytearray | None = None
        # The metrics of the prediction whose answer is outstanding.
        self._tracked: bytes | bytearray | None = None
        # One deadline at a time: to be ready, to answer, or to end.
        self._deadline = loop.alarm(self._on_deadline)
        # Set when it closed its end of the pipe: its process has to end before it is due.
        self._closed_pipe_timer: Timer | None = None
        self._deadline.set(self.started_at + spec.start_timeout)

    def __repr__(self) -> str:
        pid = self.process.pid if self.process else "-"
        return f"<Replica {self.name} pid={pid} {self.state.value}>"

    # The process, attached and reported by the supervisor.

    def wait_for_gpus(self) -> trio.CancelScope:
        """Its supervisor waits for its GPUs inside the scope, which is cancelled if it is stopped.
        The time does not count as its start. Afterwards, call `got_gpus`."""
        self._deadline.clear()
        self.waiting = trio.CancelScope()
        if self.state is not STARTING:
            self.waiting.cancel()
        return self.waiting

    def got_gpus(self) -> None:
        """It waits no longer."""
        self.waiting = None
        if self.state is STARTING:
            self.started_at = self._loop.now()
            self._deadline.set(self.started_at + self.spec.start_timeout)

    def attach(self, process: ReplicaProcess, read_fd: int, write_fd: int, root: str) -> None:
        """The process runs: sends START. Takes over both descriptors, or raises OSError."""
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self._loop.register(read_fd, READABLE, self._on_readable)
        self.process = process
        self._read_fd = read_fd
        self._writer = RequestWriter(write_fd, self._loop, self._on_end_of_pipe)
        spec = self.spec
        start = wire.Start(
            spec.file,
            spec.function,
            root,
            spec.max_response_size,
            spec.raw,
            self._request_prefix,
            spec.crns,
        )
        try:
            self._writer.send(wire.encode(start))
        except WireError as error:
            self._break_off(str(error))

    def exited(self, reason: ExitReason) -> None:
        """The process has ended, or could not be made."""
        self.process = None  # its id may belong to another process now
        if self.state is BUSY:
            self._stop_accepting()
        self._on_readable(READABLE)  # its last messages still count
        self._close_pipes()
        self._deadline.close()
        if self._closed_pipe_timer is not None:
            self._closed_pipe_timer.cancel()
        if self.stop_reason is not StopReason.LIMIT:
            self.exit_text, self.cause = reason.text, self.cause or reason.cause
        if self.ready_at is None and self.failure is None:
            text = f"the model did not become ready: {self.ending}"
            self.failure = StartFailed(text, cause=self.cause)
        self.state = advance(self.state, EXITED)
        self._settle(Died(f"the process {self.exit_text}", self.name, self._caller_id))
        self._owner.replica_gone(self)

    @property
    def ending(self) -> str:
        """Why it ended, in words."""
        if self.stop_reason is None or self.stop_reason is StopReason.LIMIT:
            return f"the process {self.exit_text}"
        return ": ".join(filter(None, (self.stop_reason.value, self.wire_error)))

    def cleaned(self) -> None:
        """Nothing of the process is left: no child of it, no working copy."""
        self._owner.replica_cleaned(self)

    @property
    def requests(self) -> int:
        """How many it has got."""
        return self._request_id

    @property
    def _caller_id(self) -> str:
        """The id of the last request, as its caller sees it if it fails. It is unique."""
        return f"{self._request_prefix}{self._request_id:012x}"

    # Called by the pool.

    def assign(self, ticket: Ticket, now: float, due: float) -> None:
        """Sends the request of `ticket`; its outcome follows by `due`."""
        assert self._writer is not None
        self.state = advance(self.state, ASSIGNED)
        self.ticket = ticket
        self.assigned_at = ticket.assigned = now
        self._loop.working += 1
        self._request_id += 1
        self._deadline.set(due)
        request = ticket.request
        try:
            if len(request) < _READ_LARGE:
                self._writer.send(wire.encode_request(request, self._request_id))
            else:  # more than the pipe takes at once; a copy of 5 MB costs some 3 ms
                header = wire.request_header(len(request), self._request_id)
                self._writer.send_large(header, request)
        except WireError as error:
            self._break_off(str(error))

    def stop(self, reason: StopReason = StopReason.STOPPED) -> None:
        """An orderly end: it finishes its ticket, then its pipe is closed."""
        if self.state in (STOPPING, GONE):
            return
        if self.state is STARTING:
            # It runs the model file, so it would not notice the end of its pipe.
            self.kill(StopReason.STOPPED)
            return
        self._stop_accepting()
        self._reason_to_leave = reason
        if self.ticket is None:
            self._end_orderly(reason)

    def kill(self, reason: StopReason, outcome: Outcome | None = None) -> None:
        """An immediate end; its ticket gets `outcome`, or Died."""
        if self.state is GONE:
            return
        self.stop_reason = self.stop_reason or reason
        self.state = advance(self.state, KILL)
        self._owner.replica_leaving(self)
        self._close_pipes()
        self._deadline.clear()
        if self.process is not None:
            self.process.kill()
        elif self.waiting is not None:
            self.waiting.cancel()
        because = f"the replica was ended because {self.ending}"
        self._settle(outcome or Died(because, self.name, self._caller_id))

    def kill_for_limit(self, reason: ExitReason) -> None:
        """It exceeded a limit that the kernel does not enforce."""
        if self.state not in _OVER:
            self.exit_text, self.cause = reason.text, reason.cause
            outcome = Died(f"the process {reason.text}", self.name, self._caller_id)
            self.kill(StopReason.LIMIT, outcome)

    # Callbacks.

    def _on_readable(self, events: int) -> None:
        if self._writer is None:
            return
        try:
            # One read: a replica that writes endlessly must not occupy the reactor.
            data = os.read(self._read_fd, self._read_size)
            if not data:
                self._on_end_of_pipe()
                return
            answer = self._reader.whole_answer(data)
            if answer is not None and self.ticket is not None and answer[0] == self._request_id:
                self._answer(answer[1])
                return
            both = self._reader.whole_tracked(data) if self._tracked is None else None
            if both is not None and self.ticket is not None and both[0] == self._request_id:
                self._tracked = both[1]
                self._answer(both[2])
                return
            for request_id, message in self._reader.feed(data):
                self._receive(request_id, message)
            self._read_size = _READ_LARGE if self._reader.midway else _READ
        except BlockingIOError:
            return
        except WireError as error:
            self._break_off(str(error))

    def _on_end_of_pipe(self) -> None:
        """It ended, or closed the pipe. If it ended, the supervisor reports its status very soon.

        Until then it keeps its ticket, so that the caller gets the status (gotcha G1 in README).
        """
        self._close_pipes()
        if self.state in (IDLE, BUSY):
            self._stop_accepting()
        due = self._loop.now() + _CLOSED_PIPE_GRACE
        self._closed_pipe_timer = self._loop.call_at(due, lambda: self.kill(StopReason.WIRE))

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
                # It ends by itself, unless a thread of the model keeps it alive.
                self._deadline.set(self._loop.now() + EXIT_GRACE)
            case wire.Ready() if self.process is not None:
                self.state = advance(self.state, READY)
                self.ready_at = self._loop.now()
                if self.monitored is not None:
                    # How long its start was throttled does not count for a request.
                    self.monitored.read_throttling()
                self._deadline.clear()
                self._owner.replica_ready(self)
            case wire.Ready():
                pass  # it has ended since

    def _answer(self, body: bytes | bytearray) -> None:
        """The answer has come; its caller gets it once it is known to be JSON."""
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

    def _checked(self, outcome: Outcome | None, problem: str) -> None:
        body, self._unchecked = self._unchecked, None
        if body is None or self.ticket is None:
            return
        if problem:
            self._break_off(f"its answer is not JSON: {problem}")
            return
        self._answered(outcome or Answered(body, self.name))

    def _break_off(self, problem: str) -> None:
        self.wire_error = problem
        self.kill(StopReason.WIRE)

    def _outcome(self, message: wire.Raised | wire.Refused) -> Outcome:
        if isinstance(message, wire.Raised):
            because = self.monitored.fork_refusal_note() if self.monitored else ""
            if because:
                self.cause = Cause.PROCESSES
            text = f"{message.message} ({because})" if because else message.message
            return Raised(message.type, text, self.name, self._caller_id)
        return Refused(message.message, self.name)

    def _answered(self, outcome: Outcome) -> None:
        self._deadline.clear()
        if self._writer is not None and self._writer.unsent:
            raise WireError("an answer before the request was read")
        self.state = advance(self.state, ANSWERED)
        if self.state is STOPPING:
            self._end_orderly(self._reason_to_leave)
        self._settle(outcome)

    def _on_deadline(self) -> None:
        """It was not ready, did not answer, or did not end in time."""
        if self.ticket is not None:
            seconds = round(self._loop.now() - self.assigned_at, 3)
            because = self.monitored.throttling_note(seconds) if self.monitored else ""
            if because:
                self.cause = Cause.CPU
            outcome = TimedOut(seconds, self.name, because, self._caller_id)
            self.kill(StopReason.TIMED_OUT, outcome)
        elif self.state is not STARTING:
            if self.process is not None:
                self.process.kill()
        elif self.failure is not None:
            self.kill(StopReason.FAILED)
        else:
            limit = self.spec.start_timeout
            because = self.monitored.throttling_note(limit) if self.monitored else ""
            if because:
                self.cause = Cause.CPU
            text = "; ".join(filter(None, (f"the model was not ready within {limit:g} s", because)))
            self.failure = StartFailed(text, cause=self.cause)
            self.kill(StopReason.START_TIMED_OUT)

    # The pipes.

    def _settle(self, outcome: Outcome) -> None:
        ticket, self.ticket = self.ticket, None
        self._unchecked = None
        # Taken before its owner assigns the next ticket.
        tracked, self._tracked = self._tracked, None
        if ticket is not None:
            if isinstance(outcome, Died | TimedOut):
                self.failed_request = outcome.request_id
            self._loop.working -= 1
            self._owner.replica_settled(self, ticket, outcome, self._loop.now())
            # Metrics belong to answers that a caller got, one for one.
            if tracked is not None and ticket.outcome is outcome and isinstance(outcome, Answered):
                self._owner.replica_tracked(tracked)

    def _end_orderly(self, reason: StopReason) -> None:
        """Closes the pipes, which asks it to end, and sets a deadline for that."""
        self._close_pipes()
        if self.process is not None:
            self.stop_reason = self.stop_reason or reason
            self._deadline.set(self._loop.now() + EXIT_GRACE)

    def _close_pipes(self) -> None:
        if self._writer is None:
            return
        self._loop.unregister(self._read_fd)
        os.close(self._read_fd)
        self._writer.close()
        self._writer = None
