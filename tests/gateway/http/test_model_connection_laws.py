"""The laws of a connection under any order of events, as a state machine of Hypothesis."""

from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.http.connection_state import ConnectionState
from tests.support.http_stage import LIMIT, MEMORY, Answer, Stage, busy, chunked, post, request
from workers import Answered

# Makes the bytes of a request from its nonce, and says how a success of it begins.
KINDS: dict[str, Callable[[str], bytes]] = {
    "call": post,
    "chunks": chunked,
    "empty line first": lambda nonce: b"\r\n" + post(nonce),
    "with a go-ahead": lambda nonce: post(nonce, "Expect: 100-continue"),
    "1.0": lambda nonce: post(nonce, "Connection: keep-alive", version="1.0"),
    "the last": lambda nonce: post(nonce, "Connection: close"),
    "preflight": lambda nonce: request("OPTIONS", "/model"),
    "no key": lambda nonce: post(nonce, key=""),
    "malformed": lambda nonce: b"POST /model HTTP/1.1\nHost: x\r\n\r\n",
    "too large": lambda nonce: request("POST", "/model", f"Content-Length: {LIMIT + 1}"),
    "no call": lambda nonce: request("GET", "/livez"),
}
STATUS = {"preflight": 204, "no key": 401, "malformed": 400, "too large": 413}


class Caller:
    """A client that sends its requests in pieces, and knows what it asked for."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.client = stage.client()
        self.name = name
        self.asked: list[tuple[str, str]] = []  # kind and nonce of each request
        self.unsent = b""
        self.ended = False
        self.answers: list[Answer] = []

    @property
    def open(self) -> bool:
        return not self.client.transport.over and not self.ended

    def ask(self, kind: str) -> None:
        nonce = f"{self.name}-{len(self.asked)}"
        self.asked.append((kind, nonce))
        self.unsent += KINDS[kind](nonce)

    def send(self, most: int) -> None:
        if not self.client.transport.paused:
            piece, self.unsent = self.unsent[:most], self.unsent[most:]
            self.client.send(piece)

    def look(self) -> None:
        """Each response is that to its own request, and none comes after the last."""
        for answer in self.client.answers():
            if answer.status == 100:
                continue
            if self.answers:
                assert self.answers[-1].headers.get("connection") != "close"
            kind, nonce = self.asked[len(self.answers)]
            self.answers.append(answer)
            if answer.status == 200:
                assert answer.json["response"] == nonce
            elif answer.status not in (408, 429, 503):
                assert answer.status == STATUS[kind]


class AnyOrder(RuleBasedStateMachine):
    """Callers, a pool, time and an operator, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.callers: list[Caller] = []

    def some(self, data: st.DataObject) -> Caller:
        return data.draw(st.sampled_from([c for c in self.callers if c.open]))

    def any_open(self) -> bool:
        return any(caller.open for caller in self.callers)

    @precondition(lambda self: len(self.callers) < 6)
    @rule()
    def connect(self) -> None:
        self.callers.append(Caller(self.stage, f"c{len(self.callers)}"))

    @precondition(any_open)
    @rule(data=st.data(), kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
    def ask(self, data: st.DataObject, kinds: list[str]) -> None:
        caller = self.some(data)
        for kind in kinds:
            caller.ask(kind)

    @precondition(any_open)
    @rule(data=st.data(), most=st.sampled_from([1, 20, 100, 1000]))
    def send(self, data: st.DataObject, most: int) -> None:
        self.some(data).send(most)

    @precondition(any_open)
    @rule(data=st.data(), deed=st.sampled_from(["deaf", "read", "read", "end", "close", "stop"]))
    def do(self, data: st.DataObject, deed: str) -> None:
        caller = self.some(data)
        if deed == "deaf":
            caller.client.transport.deaf = True
        elif deed == "read":
            caller.client.read()
        elif deed == "end":
            caller.ended = True
            caller.client.end()
        elif deed == "close":
            caller.client.connection.close()
        else:
            caller.client.connection.stop()

    @rule(full=st.booleans())
    def fill(self, full: bool) -> None:
        self.stage.pool.at_once = busy if full else None

    @precondition(lambda self: self.stage.pool.waiting)
    @rule(deed=st.sampled_from(["begin", "answer", "answer", "refuse"]))
    def serve(self, deed: str) -> None:
        getattr(self.stage.pool, deed)()

    @precondition(lambda self: self.stage.pool.running)
    @rule()
    def answer_held(self) -> None:
        ticket = self.stage.pool.running.pop(0)
        ticket.settle(Answered(ticket.request, "replica-1"))

    @rule(seconds=st.sampled_from([0.5, 3, 11, 31, 80]))
    def pass_time(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    @invariant()
    def all_is_in_order(self) -> None:
        taken = tickets = 0
        for caller in self.callers:
            caller.client.verify()
            caller.look()
            body = caller.client.connection._body
            taken += body._taken if body is not None else 0
            tickets += caller.client.is_in(ConnectionState.WAITING)
        assert self.stage.memory.free + taken == MEMORY
        assert self.stage.pool.tickets == tickets

    def teardown(self) -> None:
        """Open clients get all responses; nothing is left of the others."""
        for caller in self.callers:
            if caller.open and not caller.client.is_in(ConnectionState.LINGERING):
                self.finish(caller)
            caller.client.connection.close()
        assert self.stage.memory.free == MEMORY
        assert self.stage.pool.tickets == 0
        assert len(self.stage.timers) == 0

    def finish(self, caller: Caller) -> None:
        while not caller.client.transport.over and not caller.client.is_in(
            ConnectionState.LINGERING
        ):
            before = (len(caller.unsent), len(caller.answers))
            caller.client.read()
            caller.send(1000)
            while self.stage.pool.tickets:
                self.stage.pool.answer()
            caller.look()
            if before == (len(caller.unsent), len(caller.answers)):
                break
        if caller.client.is_in(ConnectionState.IDLE):
            assert len(caller.answers) == len(caller.asked)


AnyOrder.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, derandomize=True
)
TestAnyOrder = AnyOrder.TestCase
