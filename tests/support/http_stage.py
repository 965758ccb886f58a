"""A stage for plays at the front door: a clock that stands still, a line that records, and a pool
whose replica is the test.

What is under test is the real ModelConnection with the real Openings, Replies and Routes.
"""

import json
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from gateway.http.access_log import AccessLog
from gateway.http.fair_shares import FairShares
from gateway.http.head_cache import HeadCache
from gateway.http.model_connection import ConnectionState, ModelConnection
from gateway.http.proxies import Proxies
from gateway.http.responses import ResponseRenderer
from gateway.identity.key_index import KeyIndex
from gateway.predictions import envelope
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import OffloadedParser
from tests.gateway.predictions.test_endpoints import a_model
from workers import Answered, Busy, MovableTimer, NotReady, Outcome, Pool, Ticket
from workers.reactor.timers import Timers

KEY = "mkey"
LIMIT = 1000
MEMORY = 3000


class Answer(NamedTuple):
    """One answer, as its client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the error catalogue; empty for a success."""
        return str(self.json["error"]["code"]) if self.body and self.status != 200 else ""


class StagedPool:
    """Keeps the tickets in line until the test takes one up, answers it or does not."""

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.held: list[Ticket] = []
        # What each ticket gets while it is submitted.
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

    def hold(self) -> Ticket:
        """A replica takes up the first ticket in line."""
        self.held.append(self.waiting.popleft())
        return self.held[-1]

    def answer(self) -> None:
        """A replica echoes the first ticket."""
        ticket = self.held.pop(0) if self.held else self.waiting.popleft()
        ticket.settle(echo(ticket))

    def refuse(self) -> None:
        """The pool gives up the first ticket in line."""
        self.waiting.popleft().settle(NotReady("it was stopped"))

    @property
    def tickets(self) -> int:
        """How many may still get an answer that somebody waits for."""
        return len(self.waiting) + sum(ticket.outcome is None for ticket in self.held)


def echoing_routes(pool: StagedPool) -> Endpoints:
    """One model, `echo`, whose key is KEY."""
    routes, model = (
        Endpoints(lambda _: KEY, lambda _: None, KeyIndex()),
        a_model("echo", model_id="e1"),
    )
    routes.put(model)
    routes.set_pool(model.id, cast(Pool, pool))
    return routes


def echo(ticket: Ticket) -> Outcome:
    return Answered(ticket.request, "replica-1")


def busy(ticket: Ticket) -> Outcome:
    return Busy("the queue is full", 7)


def examine(ticket: Ticket) -> Outcome:
    return Answered(json.dumps(envelope.examine(bytes(ticket.request))).encode(), "examiner-1")


class RecordingTransport:
    """A client that takes everything at once, unless it is told to be `deaf`."""

    def __init__(self) -> None:
        self.written = b""
        self.deaf = False
        self.stuck = False  # something it was sent has not gone out
        self.held = self.ended = self.closed = False
        self.left: bytes | None = None

    def write(self, data: bytes | bytearray) -> bool:
        self._check_open()
        assert not self.ended, "it said that no more comes"
        self.written += data
        self.stuck = self.stuck or self.deaf
        return not self.stuck

    def pause_reading(self) -> None:
        self._check_open()
        self.held = True

    def resume_reading(self) -> None:
        self._check_open()
        self.held = False

    def end(self) -> None:
        self._check_open()
        self.ended = True

    def close(self) -> None:
        self._check_open()
        self.closed = True

    def detach(self, first: bytes) -> None:
        self._check_open()
        assert not self.stuck, "something it was sent has not gone out"
        self.left = first

    def _check_open(self) -> None:
        assert not self.over, "the line is not this connection's any more"

    @property
    def over(self) -> bool:
        return self.closed or self.left is not None


class Examined:
    """An examiner of large bodies."""

    def __init__(self) -> None:
        self.pool = StagedPool()
        self.pool.at_once = examine


class Stage:
    """The door, with one model behind it, and the time."""

    def __init__(self) -> None:
        self.time = 100.0
        self.timers = Timers()
        self.pool = StagedPool()
        self.routes = echoing_routes(self.pool)
        self.examinations = Examined()
        self.examiner = cast(OffloadedParser, self.examinations)
        self.openings = HeadCache(LIMIT)
        self.replies = ResponseRenderer()
        self.memory = FairShares(MEMORY)
        self.max_request_size = LIMIT
        self.answers: Counter[int] = Counter()
        self.access_log: AccessLog | None = None
        self.proxies = Proxies(["10.9.0.0/16"])

    def now(self) -> float:
        return self.time

    def alarm(self, call: Callable[[], object]) -> MovableTimer:
        return MovableTimer(self.timers.call_at, call)

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, and what comes due on the way happen at its time."""
        end = self.time + seconds
        while (due := self.timers.next_due()) <= end:
            self.time = max(self.time, due)
            self.timers.run_due(self.time)
        self.time = end

    def client(self, flow: str = "10.0.0.1") -> "Client":
        return Client(self, flow)


class Client:
    """One connection and its line; `send` cuts what it sends as it is told."""

    def __init__(self, stage: Stage, flow: str = "10.0.0.1") -> None:
        self.stage = stage
        self.line = RecordingTransport()
        self.connection = ModelConnection(stage, self.line, flow)
        self._read = 0

    @property
    def state(self) -> ConnectionState:
        return self.connection.state

    def is_in(self, state: ConnectionState) -> bool:
        return self.connection.state is state

    def send(self, *pieces: bytes) -> "Client":
        for piece in pieces:
            if piece and not self.line.over and not self.line.held:
                self.connection.received(piece)
                self.verify()
        return self

    def end(self) -> None:
        """It sends no more; the line tells that once."""
        self.connection.ended()
        self.verify()

    def take(self) -> None:
        """It takes all that it was sent."""
        self.line.deaf = self.line.stuck = False
        self.connection.sent()
        self.verify()

    def answers(self, *methods: str) -> list[Answer]:
        """What it was sent since it last looked; `100 Continue` is one too. `methods` are those of
        its requests, where there is a HEAD among them."""
        rest, self._read = self.line.written[self._read :], len(self.line.written)
        return read_answers(rest, *methods)

    def answer(self) -> Answer:
        [answer] = self.answers()
        return answer

    def verify(self) -> None:
        """The invariants of a connection, at any time."""
        state, line = self.state, self.line
        waiting = state is ConnectionState.WAITING
        assert (self.connection._ticket is not None) == waiting, self.connection
        assert line.over == (state is ConnectionState.CLOSED), self.connection
        assert line.ended == (state is ConnectionState.LINGERING) or line.closed, self.connection
        if state is ConnectionState.CLOSED:
            assert self.connection._alarm.due == float("inf")
            assert not self.connection._unread
        elif not waiting:
            assert self.connection._alarm.due < float("inf"), f"{self.connection} waits for ever"
        if self.connection._body is not None:
            assert state in (ConnectionState.BODY, ConnectionState.SENDING), self.connection


def read_answers(sent: bytes, *methods: str) -> list[Answer]:
    """Answers as a client of HTTP/1.1 reads them, to the last byte."""
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
