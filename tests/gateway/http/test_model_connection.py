"""One connection that serves calls, in plays: what comes in, what is written, and when."""

import json
from collections.abc import Callable

import pytest

from gateway.http.connection_state import TRANSITIONS, ConnectionState
from gateway.http.model_connection import IN_A_ROW, UNREAD_LIMIT
from tests.faults.matrix import fault
from tests.support.http_stage import (
    KEY,
    LIMIT,
    MEMORY,
    TIMEOUTS,
    Answer,
    Client,
    Stage,
    StagedPool,
    busy,
    bytewise,
    chunked,
    echo,
    limits,
    parse,
    post,
    request,
)
from workers import Answered, NotReady, Outcome, Ticket
from workers.replica.ticket import Abandoned

INSTANT = 0.001


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client()


def echoes(answers: list[Answer]) -> list[object]:
    """What the model echoed; a refusal counts as its code."""
    return [a.json["response"] if a.status == 200 else a.code or a.status for a in answers]


def answer_all(client: Client) -> None:
    while client.stage.pool.tickets:
        client.stage.pool.answer()
        client.verify()


# Requests and their answers.


def test_a_call_is_answered(client: Client) -> None:
    """A call becomes a ticket of its flow with the raw payload, and its outcome the response."""
    client.send(post({"a": 1}))
    [ticket] = client.stage.pool.waiting
    assert (ticket.request, ticket.flow) == (b'{"a": 1}', "10.0.0.1")
    assert client.is_in(ConnectionState.WAITING)
    client.stage.pool.answer()
    answer = client.answer()
    assert answer.body == (
        b'{"success":true,"response":{"a": 1},"ReplicaID":"replica-1","Size":8,"StatusCode":200}'
    )
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert len(answer.headers["x-request-id"]) == 32
    assert "connection" not in answer.headers
    assert client.is_in(ConnectionState.IDLE)
    assert client.stage.answers == {200: 1}


def test_ticket_has_the_limit_of_its_caller(client: Client) -> None:
    """X-Request-Timeout is read; a value that is not a number of seconds is refused."""
    client.send(post(1, "X-Request-Timeout: 2.5"))
    assert client.stage.pool.waiting
    client.stage.pool.answer()
    client.send(post(1, "X-Request-Timeout: soon"))
    assert echoes(client.answers()) == [1, "request.invalid"]


MIXED = (
    post(1)
    + post(2, path="/nowhere").replace(b"/nowhere", b"/models/x")
    + chunked(3)
    + request("OPTIONS", "/model")
    + post(4, key="wrong")
    + b"\r\n"
    + request("GET", "/model")
    + post([5] * 20)
)
MIXED_ANSWERS = [1, "model.accesskey", 3, 204, "model.accesskey", "route.method", [5] * 20]


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    """Several requests in one read get one answer each, in order, one ticket at a time."""
    client.send(MIXED)
    assert client.stage.pool.tickets == 1
    answer_all(client)
    assert echoes(client.answers()) == MIXED_ANSWERS
    assert client.stage.memory.free == MEMORY


def test_pieces_do_not_matter() -> None:
    """The bytes cut in two, and byte by byte, give the same responses."""
    cuts = [[MIXED[:at], MIXED[at:]] for at in range(len(MIXED))]
    for pieces in (*cuts, bytewise(MIXED)):
        client = Stage().client()
        for piece in pieces:
            client.send(piece)
            answer_all(client)
        assert echoes(client.answers()) == MIXED_ANSWERS
        assert client.stage.memory.free == MEMORY
        assert client.is_in(ConnectionState.IDLE)


@pytest.mark.parametrize(
    ("version", "lines", "header", "kept"),
    [
        ("1.1", (), "", True),
        ("1.1", ("Connection: close",), "close", False),
        ("1.0", (), "close", False),
        ("1.0", ("Connection: keep-alive",), "keep-alive", True),
    ],
)
def test_connection_header_is_obeyed(
    client: Client, version: str, lines: tuple[str, ...], header: str, kept: bool
) -> None:
    """The response says and does what the client asked for, or its version implies."""
    client.send(post(1, *lines, version=version) + post(2))
    answer_all(client)
    answers = client.answers()
    assert answers[0].headers.get("connection", "") == header
    assert echoes(answers) == ([1, 2] if kept else [1])
    assert client.transport.ended == (not kept)


def test_other_methods(client: Client) -> None:
    """OPTIONS gets what browsers ask for; other methods are refused, HEAD without a body."""
    client.send(request("OPTIONS", "/model"), request("HEAD", "/model"), request("PUT", "/model"))
    preflight, head, put = client.answers("OPTIONS", "HEAD", "PUT")
    assert preflight.status == 204
    assert "x-access-key" in preflight.headers["access-control-allow-headers"]
    assert "content-length" not in preflight.headers
    assert (head.status, head.body, put.status) == (405, b"", 405)
    assert int(head.headers["content-length"]) > 0
    assert put.headers["allow"] == "POST, OPTIONS"
    assert client.is_in(ConnectionState.IDLE)


def test_expect_gets_100_continue(client: Client) -> None:
    """`Expect: 100-continue` is answered once, while a body is still to come."""
    sent = post(1, "Expect: 100-continue")
    head, _, body = sent.partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert client.answer().status == 100
    client.send(*bytewise(body))
    client.stage.pool.answer()
    assert echoes(client.answers()) == [1]
    client.send(sent)
    client.stage.pool.answer()
    assert echoes(client.answers()) == [1]


@fault(
    "oversize: Content-Length and Expect",
    injection="a body beyond the limit",
    bound="413 before it is read",
)
@pytest.mark.parametrize("lines", [(), ("Expect: 100-continue",)])
def test_announced_body_too_large_is_413(client: Client, lines: tuple[str, ...]) -> None:
    """It is refused before any of it is read; the body is dropped."""
    head = request("POST", "/model", *lines, f"Content-Length: {LIMIT + 1}")
    client.send(head)
    answer = client.answer()
    assert (answer.status, answer.code) == (413, "request.toolarge")
    assert answer.headers["connection"] == "close"
    client.send(b"x" * LIMIT, post(1))
    assert client.is_in(ConnectionState.LINGERING)
    assert not client.answers()
    client.end()
    assert client.transport.closed


def test_largest_body_is_accepted(client: Client) -> None:
    """The limit itself is allowed, by length and in chunks, in any pieces."""
    size = LIMIT - len(json.dumps({"accessKey": KEY, "request": ""}))
    for sent in (post("x" * size), chunked("x" * size)):
        client.send(sent[:100], sent[100:])
        client.stage.pool.answer()
        assert echoes(client.answers()) == ["x" * size]
    client.send(post("x" * (size + 1)))
    assert echoes(client.answers()) == ["request.toolarge"]


@fault(
    "oversize: chunked",
    injection="chunks beyond the limit",
    bound="413 when the limit is passed",
)
def test_chunked_body_too_large_is_413(client: Client) -> None:
    """Chunks are refused as soon as they exceed the limit, and the memory is released."""
    head = request("POST", "/model", "Transfer-Encoding: chunked")
    client.send(head, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 10)
    assert client.is_in(ConnectionState.BODY)
    assert client.stage.memory.free == MEMORY - LIMIT
    client.send(b"1\r\n")
    assert client.is_in(ConnectionState.BODY)
    client.send(b"x")
    assert client.answer().status == 413
    assert client.is_in(ConnectionState.LINGERING)
    assert client.stage.memory.free == MEMORY


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\n", 400),
        (b"\x16\x03\x01", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", 400),
        (b"POST /model HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"G" * 20_000, 431),
        (request("POST", "/model", "Transfer-Encoding: chunked") + b"zz\r\n", 400),
    ],
)
def test_malformed_request_ends_the_connection(client: Client, sent: bytes, status: int) -> None:
    """It is answered after earlier requests; nothing is read after it."""
    client.send(post(1) + sent + post(2))
    answer_all(client)
    first, last = client.answers()
    assert (first.status, last.status) == (200, status)
    assert last.headers["connection"] == "close"
    assert client.is_in(ConnectionState.LINGERING)
    assert client.stage.memory.free == MEMORY


# Large requests, which the offload pool parses first.


@pytest.fixture
def offload(stage: Stage) -> StagedPool:
    """Parses every request, one at a time."""
    stage.offload.inline_limit = 10
    stage.offload.pool.at_once = None
    return stage.offload.pool


def test_large_request_is_offloaded_first(client: Client, offload: StagedPool) -> None:
    """Then its payload goes to the model, and no other request comes in between."""
    client.send(post([1]) + post(2))
    assert not client.stage.pool.seen
    for expected in ([1], 2):
        offload.at_once = parse
        if offload.waiting:
            ticket = offload.begin()
            ticket.settle(parse(ticket))
        client.stage.pool.answer()
        client.verify()
        assert echoes(client.answers()) == [expected]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (busy, "gateway.overloaded"),
        (lambda ticket: Answered(b'["it is no JSON"]', "e"), "request.invalid"),
        (lambda ticket: NotReady("no replica"), "model.notready"),
    ],
)
def test_offload_outcome_is_the_response(
    client: Client, offload: StagedPool, outcome: Callable[[Ticket], Outcome], code: str
) -> None:
    """A refusal by the offload pool is the response, at once or later; the next request follows."""
    client.send(post(1) + post(2))
    offload.at_once = outcome
    ticket = offload.begin()
    ticket.settle(outcome(ticket))
    assert echoes(client.answers()) == [code, code]
    assert client.is_in(ConnectionState.IDLE)


@pytest.mark.parametrize("free", [True, False])
def test_client_gone_during_the_offload(client: Client, offload: StagedPool, free: bool) -> None:
    """Its ticket waits in no queue; where a replica is free it still gets its response."""
    client.send(post(1))
    ticket = offload.begin()
    client.end()
    client.stage.pool.at_once = echo if free else None
    ticket.settle(parse(ticket))
    client.verify()
    assert client.transport.closed
    assert echoes(client.answers()) == ([1] if free else [])
    assert client.stage.pool.tickets == 0


def test_client_gone_before_the_offload(client: Client, offload: StagedPool) -> None:
    """Its body is not parsed any more."""
    client.send(post(1))
    client.end()
    assert client.transport.closed
    assert not offload.waiting


# The budget of bytes.


@fault(
    "bodies without a key",
    injection="more bytes at once than the budget",
    bound="503; memory stays bounded",
)
def test_bodies_beyond_the_memory_are_503(stage: Stage) -> None:
    """A caller's unfinished bodies may take as much as they leave free; more gets 503."""
    rest = MEMORY // 2 - LIMIT
    first, second, third = stage.client(), stage.client(), stage.client()
    half = stage.client()
    first.send(request("POST", "/model", f"Content-Length: {LIMIT}"))
    half.send(request("POST", "/model", f"Content-Length: {rest}"))
    second.send(request("POST", "/model", f"Content-Length: {rest + 1}"))
    answer = second.answer()
    assert (answer.status, answer.code) == (503, "gateway.overloaded")
    assert answer.headers["connection"] == "close"
    third.send(request("POST", "/model", "Transfer-Encoding: chunked"))
    third.send(b"%x\r\n" % (rest + 1) + b"x" * (rest + 1))
    assert third.answer().status == 503
    first.connection.close()
    half.connection.close()
    assert stage.memory.free == MEMORY
    stage.client().send(request("POST", "/model", f"Content-Length: {LIMIT}"))
    assert stage.memory.free == MEMORY - LIMIT


def test_announced_bodies_leave_memory_for_others(stage: Stage) -> None:
    """The body of another caller is read, however much one announces."""
    for _ in range(10):
        stage.client("10.0.0.1").send(request("POST", "/model", f"Content-Length: {LIMIT}"))
    other = stage.client("10.0.0.2")
    asked = post(1)
    other.send(asked[:-1])
    other.send(asked[-1:])
    assert stage.pool.tickets == 1


def test_whole_request_takes_no_memory(stage: Stage) -> None:
    """A request that comes in one read is served, however many others are unfinished."""
    for number in range(10):
        flow = f"10.0.1.{number}"
        stage.client(flow).send(request("POST", "/model", f"Content-Length: {LIMIT}"))
    assert stage.memory.free <= LIMIT
    stage.client().send(post(1))
    assert stage.pool.tickets == 1


def test_memory_is_released_however_a_body_ends(stage: Stage) -> None:
    """Whole, refused, malformed, late, cut off, or stopped: the bytes are free again."""
    whole = chunked([1] * 30)
    for ending in ("whole", "busy", "malformed", "late", "end", "close", "stop", "deaf"):
        client = stage.client()
        client.send(whole[:-20])
        assert stage.memory.free < MEMORY
        stage.pool.at_once = busy if ending == "busy" else None
        client.transport.deaf = ending == "deaf"
        if ending in ("whole", "busy"):
            client.send(whole[-20:])
        elif ending in ("malformed", "deaf"):
            client.send(b"\r\n\r\n\r\n\r\n")
        elif ending == "late":
            stage.pass_time(TIMEOUTS.call_body)
        elif ending == "end":
            client.end()
        elif ending == "stop":
            client.connection.stop()
            client.send(whole[-20:])
        else:
            client.connection.close()
        stage.pass_time(TIMEOUTS.send)
        assert stage.memory.free == MEMORY, ending


# Deadlines.


def late(client: Client, seconds: float) -> None:
    """Passes `seconds`; the state changes at their end and not before."""
    before = client.state
    client.stage.pass_time(seconds - INSTANT)
    assert client.state is before
    client.stage.pass_time(INSTANT)
    assert client.state is not before
    client.verify()


def test_idle_connection_is_closed(client: Client) -> None:
    """After 75 s without a request, at first or after a response, without a word."""
    late(client, TIMEOUTS.idle)
    assert client.transport.closed
    used = client.stage.client().send(post(1))
    client.stage.pool.answer()
    client.stage.pass_time(TIMEOUTS.idle / 2)
    used.send(post(2))
    client.stage.pool.answer()
    used.answers()
    late(used, TIMEOUTS.idle)
    assert used.transport.closed
    assert not used.answers()


@fault(
    "slow headers (models)",
    injection="a head that drips",
    bound="408 after 10 s",
)
def test_head_has_ten_seconds_in_all(client: Client) -> None:
    """A byte each second does not extend it; the client gets 408, and the connection ends."""
    client.stage.pass_time(50)
    for byte in bytewise(post(1))[: int(TIMEOUTS.head)]:
        client.send(byte)
        client.stage.pass_time(1 - INSTANT)
    assert client.is_in(ConnectionState.HEAD)
    client.stage.pass_time(1)
    answer = client.answer()
    assert (answer.status, answer.code) == (408, "request.timeout")
    assert client.is_in(ConnectionState.LINGERING)


@fault(
    "slow body",
    injection="a body that drips",
    bound="408 after 30 s",
)
def test_body_has_thirty_seconds_in_all(client: Client) -> None:
    """Counted from its head; a byte each second does not extend it."""
    head, _, body = post("x" * 100).partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    for byte in bytewise(body)[: int(TIMEOUTS.call_body)]:
        client.stage.pass_time(1 - INSTANT)
        client.send(byte)
    assert client.is_in(ConnectionState.BODY)
    client.stage.pass_time(1)
    assert client.answer().status == 408
    assert client.is_in(ConnectionState.LINGERING)
    assert client.stage.memory.free == MEMORY


def test_empty_line_begins_no_request(client: Client) -> None:
    """The empty line that some clients send after a body does not start the time of a head."""
    client.send(post(1))
    client.stage.pool.answer()
    client.send(b"\r", b"\n")
    assert client.is_in(ConnectionState.IDLE)
    client.stage.pass_time(TIMEOUTS.head)
    client.send(post(2))
    client.stage.pool.answer()
    assert echoes(client.answers()) == [1, 2]
    client.send(b"\r\n")
    late(client, TIMEOUTS.idle)
    assert client.transport.closed
    assert not client.answers()


def test_waiting_request_has_no_deadline(client: Client) -> None:
    """Its ticket has one of its own."""
    client.send(post(1))
    client.stage.pass_time(10_000)
    client.stage.pool.answer()
    assert echoes(client.answers()) == [1]


def test_response_has_to_be_read_in_thirty_seconds(client: Client) -> None:
    """A client that does not read it is closed; one that reads it just in time continues."""
    client.transport.deaf = True
    for last in (False, True):
        client.send(post(1))
        client.stage.pool.answer()
        assert client.is_in(ConnectionState.SENDING)
        if last:
            late(client, TIMEOUTS.send)
            assert client.transport.closed
        else:
            client.stage.pass_time(TIMEOUTS.send - INSTANT)
            client.read()
            assert client.is_in(ConnectionState.IDLE)
            client.transport.deaf = True


def test_client_has_two_seconds_after_its_last_response(client: Client) -> None:
    """What it still sends is dropped, so that it can read the response."""
    client.send(post(1, "Connection: close"))
    client.stage.pool.answer()
    assert client.transport.ended
    for _ in range(3):
        client.send(post(2), b"junk")
    late(client, TIMEOUTS.linger)
    assert client.transport.closed
    assert len(client.answers()) == 1


def test_deadline_does_not_outlive_its_request(client: Client) -> None:
    """Neither the head's nor the body's counts once the request is whole."""
    sent = post(1)
    client.send(sent[:10])
    client.stage.pass_time(TIMEOUTS.head - INSTANT)
    client.send(sent[10:-3])
    client.stage.pass_time(TIMEOUTS.call_body - INSTANT)
    client.send(sent[-3:])
    client.stage.pass_time(1000)
    client.stage.pool.answer()
    client.stage.pass_time(TIMEOUTS.idle - INSTANT)
    assert client.is_in(ConnectionState.IDLE)


# Clients that go.


def test_client_that_ends_while_queued_withdraws_its_ticket(client: Client) -> None:
    """No replica gets it, and the connection is closed."""
    client.send(post(1) + post(2))
    [ticket] = client.stage.pool.waiting
    client.end()
    assert client.transport.closed
    assert not client.stage.pool.waiting
    assert isinstance(ticket.outcome, Abandoned)
    assert not client.transport.written


def test_half_closed_client_gets_a_running_response(client: Client) -> None:
    """If a replica has begun, the response is sent, and then the connection is closed."""
    client.send(post(1) + post(2))
    client.stage.pool.begin()
    client.end()
    assert client.is_in(ConnectionState.WAITING)
    assert client.transport.paused
    client.stage.pool.answer()
    answer = client.answer()
    assert (answer.json["response"], answer.headers["connection"]) == (1, "close")
    assert client.transport.closed
    assert len(client.stage.pool.seen) == 1


def test_client_half_closes_while_it_reads(client: Client) -> None:
    """It gets all of the response; if it reads nothing it is closed in time."""
    for taken in (True, False):
        client = client.stage.client()
        client.transport.deaf = True
        client.send(post(1))
        client.stage.pool.answer()
        client.end()
        assert client.is_in(ConnectionState.SENDING)
        if taken:
            client.read()
        else:
            late(client, TIMEOUTS.send)
        assert client.transport.closed


def client_in(stage: Stage, state: ConnectionState) -> Client:
    """A client whose connection is in that state."""
    client = stage.client()
    if state is ConnectionState.HEAD:
        client.send(post(1)[:20])
    elif state is ConnectionState.BODY:
        client.send(post(1)[:-2])
    elif state is not ConnectionState.IDLE:
        client.transport.deaf = state is ConnectionState.SENDING
        lines = ("Connection: close",) if state is ConnectionState.LINGERING else ()
        client.send(post(1, *lines) + post(2))
        if state is not ConnectionState.WAITING:
            stage.pool.answer()
    assert client.state is state
    return client


STATES = [state for state in ConnectionState if state is not ConnectionState.CLOSED]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("running", [False, True])
def test_broken_connection_leaves_nothing(
    stage: Stage, state: ConnectionState, running: bool
) -> None:
    """In any state: no ticket, no bytes, no deadline, and nothing more is written."""
    client = client_in(stage, state)
    ticket = stage.pool.begin() if running and stage.pool.waiting else None
    written = client.transport.written
    client.connection.close()
    client.verify()
    assert client.transport.closed
    assert stage.pool.tickets == 0
    assert stage.memory.free == MEMORY
    assert len(stage.timers) == 0
    if ticket is not None:  # the replica finishes it, and its outcome is dropped
        ticket.settle(Answered(b"1", "replica-1"))
    client.connection.close()
    client.connection.stop()
    assert client.transport.written == written


@pytest.mark.parametrize("state", STATES)
def test_half_close_ends_the_connection(stage: Stage, state: ConnectionState) -> None:
    """In any state, at once or after the response under way."""
    client = client_in(stage, state)
    client.end()
    if state is ConnectionState.SENDING:
        client.read()
    assert client.transport.closed
    assert stage.pool.tickets == 0
    assert stage.memory.free == MEMORY


@pytest.mark.parametrize("state", STATES)
def test_after_stop_no_request_begins(stage: Stage, state: ConnectionState) -> None:
    """A request that has begun is answered with `Connection: close`."""
    client = client_in(stage, state)
    client.answers()
    client.connection.stop()
    client.verify()
    assert not client.transport.closed
    if state in (ConnectionState.HEAD, ConnectionState.BODY):
        sent = post(1)
        client.send(sent[20:] if state is ConnectionState.HEAD else sent[-2:])
    if state is ConnectionState.SENDING:
        client.read()
    elif state is ConnectionState.IDLE:
        late(client, TIMEOUTS.first_request)
    else:
        client.send(post(3))
    before = len(stage.pool.seen)
    answer_all(client)
    assert len(stage.pool.seen) == before
    if state in (ConnectionState.HEAD, ConnectionState.BODY, ConnectionState.WAITING):
        answer = client.answer()
        assert (answer.json["response"], answer.headers["connection"]) == (1, "close")
    assert client.state in (ConnectionState.LINGERING, ConnectionState.CLOSED)
    stage.pass_time(TIMEOUTS.linger)
    assert client.transport.closed


@pytest.mark.parametrize("seconds", [TIMEOUTS.first_request, TIMEOUTS.next_request])
def test_idle_client_has_a_moment_at_the_stop(stage: Stage, seconds: float) -> None:
    """For a last request, and longer if it would be the first."""
    idle, client = stage.client(), stage.client()
    if seconds == TIMEOUTS.next_request:
        for each in (idle, client):
            each.send(post(1))
            stage.pool.answer()
            assert each.answer().json["response"] == 1
    for each in (idle, client):
        each.connection.stop()
    client.send(post(2))
    late(idle, seconds)
    stage.pool.answer()
    answer = client.answer()
    assert (answer.json["response"], answer.headers["connection"]) == (2, "close")


# The table of states.


def test_each_transition_of_the_table_happens(stage: Stage) -> None:
    """The table lists no change of state that cannot happen; CheckedConnection allows no other."""
    head, _, body = post(1).partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    last = post(1, "Connection: close")
    bad_head, bad_body = b"GET\r\n\r\n", request("POST", "/model", "Transfer-Encoding: chunked")
    options, malformed = request("OPTIONS", "/model"), b"zz\r\n"
    plays: list[tuple[bytes, ...]] = [
        (b"P",),  # a part of a head
        (head,),  # a part of a body
        (post(1),),
        (last,),
        (bad_head,),
        (options,),
        (bad_body, malformed),
        (head[:9], head[9:]),
        (head[:9], head[9:] + body),
        (options[:9], options[9:]),
        (b"GET", b"\r\n\r\n"),
        (head, body),
    ]
    for pieces in plays:
        for deaf in (False, True):
            for answered in (False, True):
                client = stage.client()
                client.transport.deaf = deaf
                client.send(*pieces)
                while answered and stage.pool.tickets:
                    stage.pool.answer()
                if deaf and answered and client.is_in(ConnectionState.SENDING):
                    client.read()
                client.connection.close()
    expected = {(before, after) for before, moves in TRANSITIONS.items() for after in moves}
    assert stage.transitions == expected


# Who sends ahead.


@pytest.mark.parametrize("cut", [1 << 16, 100])
def test_pipelined_bytes_are_bounded(client: Client, cut: int) -> None:
    """While a request is served, what follows it is read up to a limit; reading resumes below it,
    and all is answered in order."""
    most = UNREAD_LIMIT
    sent = b"".join(post(number) for number in range(4000))
    numbers, at, largest = list[object](), 0, 0
    while at < len(sent) or client.stage.pool.tickets:
        while at < len(sent) and not client.transport.paused:
            client.send(sent[at : at + cut])
            at += cut
        largest = max(largest, len(client.connection._unread))
        client.stage.pool.answer()
        client.verify()
        numbers += echoes(client.answers())
    assert numbers == list(range(4000))
    assert most <= largest < most + cut
    assert not client.transport.paused


def test_pipelined_large_body_is_read(client: Client) -> None:
    """A body that fills the limit of pipelined bytes does not stop the reading for good."""
    client.stage.context.set_limits(limits(body=10**6, memory=10**6))
    large = post("x" * 200_000)
    client.send(post(1), large[:80_000])
    assert client.transport.paused
    client.stage.pool.answer()
    assert client.is_in(ConnectionState.BODY)
    assert not client.transport.paused
    client.send(large[80_000:])
    client.stage.pool.answer()
    assert echoes(client.answers()) == [1, "x" * 200_000]


def test_many_immediate_responses_yield(client: Client) -> None:
    """Thousands of pipelined requests that need no model are answered in order, without recursion,
    a few at a time."""
    client.send(post(0))
    client.stage.pool.at_once = busy
    client.send(post(1) * 600 + b"\r\n")
    client.stage.pool.answer()
    answers = client.answers()
    assert len(answers) == 1 + IN_A_ROW
    client.stage.pass_time(0)
    answers += client.answers()
    assert echoes(answers) == [0] + ["model.busy"] * 600
    assert answers[1].headers["retry-after"] == "7"
    assert len({answer.headers["x-request-id"] for answer in answers}) == 601
    assert not client.transport.paused
    late(client, TIMEOUTS.idle)
    assert client.transport.closed


@pytest.mark.parametrize("deed", ["end", "close", "stop"])
def test_end_of_a_yielding_connection(client: Client, deed: str) -> None:
    """Nothing is left of its pipelined requests."""
    client.send(request("OPTIONS", "/model") * 100)
    if deed == "end":
        client.end()
    else:
        getattr(client.connection, deed)()
    client.verify()
    assert client.transport.closed
    assert len(client.stage.timers) == 0
    assert len(client.answers()) == IN_A_ROW


def test_immediate_and_later_outcomes_keep_order(client: Client) -> None:
    """The order of the responses does not depend on when outcomes come."""
    client.send(b"".join(post(number) for number in range(10)))
    for number in range(10):
        client.stage.pool.at_once = busy if number % 3 else None
        if client.stage.pool.tickets:
            client.stage.pool.answer()
    client.stage.pool.at_once = None
    answer_all(client)
    answers = client.answers()
    assert len(answers) == 10
    assert [e for e in echoes(answers) if e != "model.busy"] == sorted(
        e for e in echoes(answers) if isinstance(e, int)
    )


# Leaving for the other server.


@pytest.mark.parametrize("before", [b"", post(1), post(1) + chunked(2), b"\r\n"])
def test_detach_hands_over_exactly_the_unread_bytes(stage: Stage, before: bytes) -> None:
    """From the first request that is no call, in any pieces."""
    rest = request("GET", "/livez") + post(3) + b"half"
    sent = before + rest
    for at in range(len(sent)):
        client = stage.client()
        pieces = [sent[:at], sent[at:]]
        for piece in pieces:
            if client.transport.detached is not None:
                client.transport.detached += piece  # the other server reads it by itself
            client.send(piece)
            answer_all(client)
        assert client.transport.detached == (rest if before != b"\r\n" else sent)
        assert not client.transport.closed
        client.verify()
    assert stage.memory.free == MEMORY
    assert len(stage.timers) == 0


def test_detach_waits_for_the_response(client: Client) -> None:
    """Not before the client has read it."""
    client.transport.deaf = True
    client.send(post(1) + request("GET", "/livez"))
    client.stage.pool.answer()
    assert client.transport.detached is None
    client.read()
    assert client.transport.detached == request("GET", "/livez")


def test_detach_after_stop(stage: Stage) -> None:
    """The other server gets a request that has begun, and none that follows another one."""
    waiting, half = stage.client(), stage.client()
    waiting.send(post(1) + request("GET", "/livez"))
    half.send(request("GET", "/livez")[:-1])
    for client in (waiting, half):
        client.connection.stop()
    stage.pool.answer()
    assert waiting.is_in(ConnectionState.LINGERING)
    half.send(b"\n")
    assert half.transport.detached == request("GET", "/livez")
    assert waiting.transport.detached is None
