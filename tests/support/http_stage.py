"""A stage for plays of model connections: a clock that stands still, a transport that records, and
a pool whose replica is the test.

What is under test is the real ModelConnection on a real HttpContext. Each change of its state is
held to the table.
"""

import json
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from gateway.http.access_log import AccessLog
from gateway.http.connection_state import TRANSITIONS, ConnectionState
from gateway.http.context import Clock, ConnectionLimits, ConnectionStats, HttpContext
from gateway.http.model_connection import ModelConnection
from gateway.http.proxies import Proxies
from gateway.http.timeouts import HttpTimeouts
from gateway.identity.key_index import KeyIndex
from gateway.predictions import envelope
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import INLINE_LIMIT, OffloadedParser
from tests.gateway.predictions.test_endpoints import a_model
from workers import Answered, Busy, MovableTimer, NotReady, Outcome, Pool, Ticket
from workers.reactor.timers import Timers

KEY = "mkey"
LIMIT = 1000
MEMORY = 3000
TIMEOUTS = HttpTimeouts()


class Answer(NamedTuple):
    """One response, as its client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code; empty for a success."""
        return str(self.json["error"]["code"]) if self.body and self.status != 200 else ""


class StagedPool:
    """Keeps tickets in its queue until the test begins or answers one."""

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.running: list[Ticket] = []
        # The outcome that each ticket gets while it is submitted.
        self.at_once: Callable[[Ticket], Outcome] | None = None
        self.seen: list[Ticket] = []

    def submit(self, ticket: Ticket) -> None:
        self.seen.append(ticket)
        ticket.owner = self
        if self.at_once is not None:
            ticket.settle(self.at_once(ticket))
        else:
            self.waiting.append(ticket)

    def withdraw(self, ticket: Ticket) -> bool:
        if ticket not in self.waiting:
            return False
        self.waiting.remove(ticket)
        return True

    def begin(self) -> Ticket:
        """A replica begins with the first ticket."""
        self.running.append(self.waiting.popleft())
        return self.running[-1]

    def answer(self) -> None:
        """A replica echoes the first ticket."""
        ticket = self.running.pop(0) if self.running else self.waiting.popleft()
        ticket.settle(echo(ticket))

    def refuse(self) -> None:
        """The pool refuses the first ticket."""
        self.waiting.popleft().settle(NotReady("it was stopped"))

    @property
    def tickets(self) -> int:
        """How many may still get an outcome that is waited for."""
        return len(self.waiting) + sum(ticket.outcome is None for ticket in self.running)


def echo_endpoints(pool: StagedPool) -> Endpoints:
    """One model, `echo`, whose key is KEY."""
    endpoints = Endpoints(lambda _: KEY, lambda _: None, KeyIndex())
    model = a_model("echo", model_id="e1")
    endpoints.put_model(model)
    endpoints.set_pool(model.id, cast(Pool, pool))
    return endpoints


def echo(ticket: Ticket) -> Outcome:
    return Answered(ticket.request, "replica-1")


def busy(ticket: Ticket) -> Outcome:
    return Busy("the queue is full", 7)


def parse(ticket: Ticket) -> Outcome:
    return Answered(json.dumps(envelope.examine(bytes(ticket.request))).encode(), "offload-1")


class RecordingTransport:
    """A client that reads everything at once, unless it is `deaf`."""

    def __init__(self) -> None:
        self.written = b""
        self.deaf = False
        self.stuck = False  # something has not been sent
        self.paused = False
        self.ended = self.closed = False
        self.detached: bytes | None = None

    def write(self, data: bytes | bytearray) -> bool:
        self._check_open()
        assert not self.ended, "written after the end"
        self.written += data
        self.stuck = self.stuck or self.deaf
        return not self.stuck

    def pause_reading(self) -> None:
        self._check_open()
        self.paused = True

    def resume_reading(self) -> None:
        self._check_open()
        self.paused = False

    def end(self) -> None:
        self._check_open()
        self.ended = True

    def close(self) -> None:
        self._check_open()
        self.closed = True

    def detach(self, first: bytes) -> None:
        self._check_open()
        assert not self.stuck, "detached with unsent bytes"
        self.detached = first

    def _check_open(self) -> None:
        assert not self.over, "used after close or detach"

    @property
    def over(self) -> bool:
        return self.closed or self.detached is not None


class StagedOffload:
    """An offload pool that parses at once."""

    def __init__(self) -> None:
        self.inline_limit = INLINE_LIMIT
        self.pool = StagedPool()
        self.pool.at_once = parse


def limits(
    *, connections: int = 100, per_address: int = 100, body: int = LIMIT, memory: int = MEMORY
) -> ConnectionLimits:
    return ConnectionLimits(
        connections=connections,
        connections_per_address=per_address,
        request_bytes=body,
        inflight_bytes=memory,
    )


def http_context(
    clock: Clock,
    pool: StagedPool,
    offload: StagedOffload | None = None,
    *,
    limits: ConnectionLimits = limits(),  # noqa: B008 - a frozen record
    trusted: tuple[str, ...] = (),
    timeouts: HttpTimeouts = TIMEOUTS,
    access_log: AccessLog | None = None,
) -> HttpContext:
    """The real context, with one model, `echo`, whose pool is the test."""
    return HttpContext(
        clock=clock,
        endpoints=echo_endpoints(pool),
        offload=cast(OffloadedParser, offload or StagedOffload()),
        limits=limits,
        stats=ConnectionStats(),
        proxies=Proxies(trusted),
        timeouts=timeouts,
        access_log=access_log,
    )


class CheckedConnection(ModelConnection):
    """A connection whose changes of state are held to the table."""

    def __init__(self, stage: "Stage", transport: "RecordingTransport", peer: str) -> None:
        self._stage = stage
        super().__init__(stage.context, transport, peer)

    @property
    def state(self) -> ConnectionState:
        return self._state

    @state.setter
    def state(self, new: ConnectionState) -> None:
        old = getattr(self, "_state", new)
        if old is not new:
            assert new in TRANSITIONS[old], f"{old.name} -> {new.name}"
            self._stage.transitions.add((old, new))
        self._state = new


class Stage:
    """A context with one model, and the time."""

    def __init__(self) -> None:
        self.time = 100.0
        self.timers = Timers()
        self.pool = StagedPool()
        self.offload = StagedOffload()
        self.transitions: set[tuple[ConnectionState, ConnectionState]] = set()
        self.context = http_context(self, self.pool, self.offload, trusted=("10.9.0.0/16",))
        self.memory = self.context.request_memory

    @property
    def answers(self) -> Counter[int]:
        return self.context.stats.answers

    def now(self) -> float:
        return self.time

    def alarm(self, call: Callable[[], object]) -> MovableTimer:
        return MovableTimer(self.timers.call_at, call)

    def pass_time(self, seconds: float) -> None:
        """Lets time pass; each timer that is due runs at its time."""
        end = self.time + seconds
        while (due := self.timers.next_due()) <= end:
            self.time = max(self.time, due)
            self.timers.run_due(self.time)
        self.time = end

    def client(self, flow: str = "10.0.0.1") -> "Client":
        return Client(self, flow)


class Client:
    """One connection and its transport."""

    def __init__(self, stage: Stage, flow: str = "10.0.0.1") -> None:
        self.stage = stage
        self.transport = RecordingTransport()
        self.connection = CheckedConnection(stage, self.transport, flow)
        self._seen = 0

    @property
    def state(self) -> ConnectionState:
        return self.connection.state

    def is_in(self, state: ConnectionState) -> bool:
        return self.connection.state is state

    def send(self, *pieces: bytes) -> "Client":
        for piece in pieces:
            if piece and not self.transport.over and not self.transport.paused:
                self.connection.received(piece)
                self.verify()
        return self

    def end(self) -> None:
        """It sends no more."""
        self.connection.ended()
        self.verify()

    def read(self) -> None:
        """It reads all that it was sent."""
        self.transport.deaf = self.transport.stuck = False
        self.connection.sent()
        self.verify()

    def answers(self, *methods: str) -> list[Answer]:
        """The responses since the last look; `100 Continue` is one too. `methods` are those of the
        requests, where a HEAD is among them."""
        written = self.transport.written
        rest, self._seen = written[self._seen :], len(written)
        return read_answers(rest, *methods)

    def answer(self) -> Answer:
        [answer] = self.answers()
        return answer

    def verify(self) -> None:
        """The invariants of a connection, at any time."""
        state, transport = self.state, self.transport
        waiting = state is ConnectionState.WAITING
        lingering = state is ConnectionState.LINGERING
        assert self.connection._prediction.under_way == waiting, self.connection
        assert transport.over == (state is ConnectionState.CLOSED), self.connection
        assert transport.ended == lingering or transport.closed, self.connection
        if state is ConnectionState.CLOSED:
            assert self.connection._timer.due == float("inf")
            assert not self.connection._unread
        elif not waiting:
            assert self.connection._timer.due < float("inf"), f"{self.connection} has no deadline"
        if self.connection._body is not None:
            assert state in (ConnectionState.BODY, ConnectionState.SENDING), self.connection


def read_answers(sent: bytes, *methods: str) -> list[Answer]:
    """Responses as a client of HTTP/1.1 reads them, to the last byte."""
    answers = []
    asked = iter(methods)
    while sent:
        head, _, sent = sent.partition(b"\r\n\r\n")
        first, _, lines = head.partition(b"\r\n")
        version, status = first.split(b" ")[:2]
        assert version == b"HTTP/1.1"
        fields = [line.split(": ", 1) for line in lines.decode("latin-1").split("\r\n") if line]
        headers = {name.lower(): value for name, value in fields}
        assert len(headers) == len(fields), f"a header is there twice: {fields}"
        method = "" if status == b"100" else next(asked, "")
        bodiless = status in (b"100", b"204") or method == "HEAD"
        length = 0 if bodiless else int(headers["content-length"])
        assert len(sent) >= length, "an answer is cut off"
        answers.append(Answer(int(status), headers, sent[:length]))
        sent = sent[length:]
    return answers


def post(
    payload: object = 1, *lines: str, path: str = "/model", version: str = "1.1", key: str = KEY
) -> bytes:
    """A call with its length."""
    body = json.dumps({"accessKey": key, "request": payload}).encode()
    return request("POST", path, *lines, body=body, version=version)


def request(
    method: str, path: str, *lines: str, body: bytes | None = None, version: str = "1.1"
) -> bytes:
    """A request; with `body`, with its length."""
    length = () if body is None else (f"Content-Length: {len(body)}",)
    head = (f"{method} {path} HTTP/{version}", "Host: x", *lines, *length, "", "")
    return "\r\n".join(head).encode("latin-1") + (body or b"")


def chunked(payload: object = 1, *lines: str, size: int = 7) -> bytes:
    """A call in chunks."""
    body = json.dumps({"accessKey": KEY, "request": payload}).encode()
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return request("POST", "/model", *lines, "Transfer-Encoding: chunked") + sent


def bytewise(sent: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in sent]
