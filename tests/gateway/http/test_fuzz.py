"""Fuzzing: with any bytes in any pieces, no client gets the response to another request and nothing
is left; both servers give a well-formed call the same response.
"""

import json
import os
import re
import socket
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.matrix import fault
from tests.gateway.conftest import Samples
from tests.gateway.http.raw_requests import BAD, GOOD, read, status_of
from tests.support.http_stage import (
    MEMORY,
    Answer,
    Stage,
    chunked,
    echo,
    post,
    read_answers,
    request,
)

fuzzed = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def cut(sent: bytes, cuts: set[int]) -> list[bytes]:
    at = [0, *sorted(cut for cut in cuts if 0 < cut < len(sent)), len(sent)]
    return [sent[a:b] for a, b in pairwise(at)]


cuts = st.sets(st.integers(1, 400), max_size=6)
CORPUS = [path.read_bytes().replace(b" /livez ", b" /model ") for path in GOOD + BAD]
SPICE = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0\r\n\r\n", b"\xff", b"%"]
SPICE += [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"]
SPICE += [b"\r\n\r\n", b"HTTP/1.1", b"POST /model", b"0", b"9" * 16, b"f", b"Connection: close\r\n"]


def one_of(number: int) -> st.SearchStrategy[bytes]:
    """A request with its number as nonce, or other bytes."""
    return st.one_of(
        st.sampled_from(
            [
                post(number),
                post(number, "Expect: 100-continue"),
                post(number, "Connection: keep-alive", version="1.0"),
                chunked(number),
                chunked(number, size=1),
                request("OPTIONS", "/model"),
                request("HEAD", "/model"),
            ]
        ),
        st.sampled_from(CORPUS),
        st.binary(max_size=40),
    )


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Some requests, with mistakes in them."""
    sent = b"".join(draw(one_of(number)) for number in range(draw(st.integers(1, 4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(sent)))
        deed = draw(st.sampled_from(["insert", "replace", "remove", "repeat", "flip"]))
        end = at + draw(st.integers(1, 30))
        spice = draw(st.sampled_from(SPICE))
        if deed == "insert":
            sent = sent[:at] + spice + sent[at:]
        elif deed == "replace":
            sent = sent[:at] + spice + sent[end:]
        elif deed == "remove":
            sent = sent[:at] + sent[end:]
        elif deed == "repeat":
            sent = sent[:end] + sent[at:]
        elif at < len(sent):
            sent = sent[:at] + bytes([sent[at] ^ 1 << draw(st.integers(0, 7))]) + sent[at + 1 :]
    return sent


def play(pieces: list[bytes], *, at_once: bool) -> list[object]:
    """What a connection answers to these pieces: nonces of successes, statuses of the rest."""
    stage = Stage()
    stage.pool.at_once = echo if at_once else None
    client = stage.client()
    for piece in pieces:
        client.send(piece)
        for _ in range(len(piece)):  # a request takes some bytes: more answers there cannot be
            if not stage.pool.tickets:
                break
            stage.pool.answer()
            client.verify()
        assert not stage.pool.tickets
    stage.pass_time(200)  # more than all deadlines one after the other
    assert client.transport.over
    client.verify()
    assert stage.memory.free == MEMORY
    assert stage.pool.tickets == 0
    assert len(stage.timers) == 0
    return [result for result in results(client.transport.written) if result not in (100, 408)]


# Of two faults in one head, which comes first depends on how much of it has come.
MALFORMED = ("request.malformed", "request.head", "request.unsupported", "request.version")


def results(written: bytes) -> list[object]:
    """As `play`. The end of a response to HEAD is recognised by what follows."""
    result: list[object] = []
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        method = "HEAD" if b" 405 " in head and not rest.startswith(b"{") else ""
        length = 0 if method else int((re.findall(rb"content-length: (\d+)", head) or [b"0"])[0])
        end = len(head) + 4 + length
        methods = ["HEAD"] if method else []
        [answer] = read_answers(written[:end], *methods)
        if answer.code in MALFORMED:
            result.append("malformed")
        else:
            result.append(answer.json["response"] if answer.status == 200 else answer.status)
        written = written[end:]
    return result


@fault(
    "any bytes in any pieces",
    injection="hypothesis",
    bound="an end in bounded time; the cuts do not matter",
)
@given(sent=streams(), one=cuts, other=cuts)
@settings(fuzzed, max_examples=1000)
def test_any_bytes_in_any_pieces(sent: bytes, one: set[int], other: set[int]) -> None:
    """All ends in bounded time with nothing left, and the responses do not depend on the pieces;
    only an early refusal, which ends the connection, makes them fewer."""
    hold_to_the_laws(sent, one, other)


@pytest.mark.soak
@given(sent=streams(), one=cuts, other=cuts)
@settings(fuzzed, max_examples=100_000, derandomize=False)
def test_any_bytes_in_any_pieces_for_long(sent: bytes, one: set[int], other: set[int]) -> None:
    """The same, for minutes and with other bytes each time."""
    hold_to_the_laws(sent, one, other)


def hold_to_the_laws(sent: bytes, one: set[int], other: set[int]) -> None:
    answers = [
        play(cut(sent, one), at_once=True),
        play(cut(sent, other), at_once=False),
        play([sent], at_once=True),
    ]
    longest = max(answers, key=len)
    for each in answers:
        assert each == longest[: len(each)], answers
    successes = [result for result in longest if isinstance(result, int) and result < 4]
    for nonce in successes:
        assert b"%d" % nonce in sent


# Against a real gateway.


class Port:
    """Where the gateway of the samples listens, and its process."""

    def __init__(self, samples: Samples) -> None:
        result = json.loads((samples.data / "gateway.json").read_text())
        self.port = int(result["url"].rpartition(":")[2])
        self.process = psutil.Process(result["pid"])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture(scope="session")
def port(samples: Samples) -> Port:
    return Port(samples)


def all_of(client: socket.socket) -> bytes:
    read = b""
    while data := client.recv(1 << 16):
        read += data
    return read


def answers_in(sent: bytes, read_back: bytes) -> list[Answer]:
    methods = [one.head.method for one in read(sent).requests]
    return [each for each in read_answers(read_back, *methods) if each.status != 100]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_request_gets_its_status_and_the_end(port: Port, path: Path) -> None:
    """A bad request is refused with the status in its name after the responses to earlier requests,
    by either server, and the connection is closed."""
    sent = path.read_bytes()
    for prefix in (b"", request("GET", "/livez")):
        with port.connect() as client:
            client.sendall(prefix + sent)
            result = [each.status for each in answers_in(prefix + sent, all_of(client))]
        assert result[-1] == status_of(path)
        assert len(result) == len(read(prefix + sent).requests) + 1
        assert all(status < 500 for status in result[:-1])


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_requests_are_answered(port: Port, path: Path) -> None:
    """Each request gets its response, by either server."""
    sent = path.read_bytes()
    for prefix in (b"", request("GET", "/livez")):
        client_sends = prefix + sent + request("GET", "/livez", "Connection: close")
        with port.connect() as client:
            client.sendall(client_sends)
            answers = answers_in(client_sends, all_of(client))
        assert all(each.status < 500 for each in answers)
        wanted = read(client_sends).requests[: len(answers)]
        # Hypercorn keeps no connection of 1.0, and none of which it has not read a body.
        assert not wanted[-1].head.keep_alive or "close" in answers[-1].headers["connection"]


@fault(
    "the corpus again and again",
    injection="whole and cut off",
    bound="descriptors and tasks stay as they were",
)
def test_corpus_leaves_no_descriptors_or_memory(port: Port) -> None:
    """After many rounds of the corpus, whole and cut off, the gateway has as many descriptors as
    before, and no more memory."""

    def corpus() -> None:
        for path in BAD + GOOD:
            sent = path.read_bytes()
            for part in (sent, sent[: len(sent) // 2]):
                with port.connect() as client:
                    client.sendall(part)
                    client.shutdown(socket.SHUT_WR)
                    client.settimeout(20)
                    all_of(client)

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{port.process.pid}/fd"))

    corpus()
    files, memory = descriptors(), port.process.memory_info().rss
    for _ in range(3):
        corpus()
    give_up = time.monotonic() + 20
    # The last client may know that its connection has ended before the gateway has closed it.
    while descriptors() > files:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert port.process.memory_info().rss - memory < 4_000_000


# Both ways to a model.


class Comparable(NamedTuple):
    """A response without what differs from one to the next."""

    status: int
    headers: dict[str, str]
    body: object


OF_ONE_REQUEST = {"date", "x-request-id", "content-length", "connection"}


def comparable(answer: Answer) -> Comparable:
    body: Any = answer.body
    if answer.body:
        body = re.sub(rb'"request_id":"[^"]*"', b"", answer.body)
        assert len(answer.body) == int(answer.headers["content-length"])
    headers = {k: v for k, v in answer.headers.items() if k not in OF_ONE_REQUEST}
    return Comparable(answer.status, headers, body)


paths = st.sampled_from(
    [
        "/model",
        "/model?accessKey={add}",
        "/model?x=1&accessKey=%20{add}%20",
        "/model?accessKey=unknown&accessKey={add}",
        "/model?accessKey=%ff",
        "/mod%65l",
        "/models/add",
        "/models/a%64d",
        "/models/unknown",
        "/models/a%2Fb",
        "/models/add/",
        "/models/",
        "/models/a b".replace(" ", "%20"),
        "/api/altus-ds-1/models/call-model",
    ]
)
lines = st.lists(
    st.sampled_from(
        [
            "X-Access-Key: {add}",
            "x-access-key:  {add} ",
            "X-Access-Key: unknown",
            "Content-Type: application/json",
            "content-type:application/json; charset=utf-8",
            "CONTENT-TYPE: text/plain",
            "Content-Type: Application/Problem+JSON",
            "Content-Type:",
            "Content-Encoding: identity",
            "Content-Encoding: gzip",
            "X-Request-Timeout: 5",
            "X-Request-Timeout: 1_0",
            "X-Request-Timeout: soon",
            "X-Request-Timeout: -1",
            "Accept: */*",
            "Cookie: a=b",
            "Origin: http://other",
            "Expect: 100-continue",
            "Upgrade: websocket",
            "Connection: upgrade",
            "Authorization: Bearer x",
            "X-Odd: \xe9\t\xff",
        ]
    ),
    max_size=5,
    unique_by=lambda line: line.partition(":")[0].lower(),
)
bodies = st.sampled_from(
    [
        '{"accessKey":"{add}","request":{"a":3,"b":5}}',
        '{"request":{"a":3,"b":5}}',
        ' {"request" : {"a":3,"b":5} , "accessKey" : " {add}\\n"} ',
        '{"accessKey":"{idle}","request":1}',
        '{"accessKey":"{add}"}',
        '{"accessKey":"{add}","request":',
        '{"accessKey":7,"request":1}',
        "[]",
        "",
        '{"request":"\xff"}',
        '{"accessKey":"{add}","request":' + "[" * 3000 + "]" * 3000 + "}",
    ]
)


@given(
    method=st.sampled_from(["POST"] * 6 + ["OPTIONS", "HEAD", "GET", "PUT"]),
    path=paths,
    lines=lines,
    body=bodies,
    chunk=st.sampled_from([0, 0, 1, 7]),
    version=st.sampled_from(["1.1", "1.1", "1.0"]),
    cuts=cuts,
)
@settings(fuzzed, max_examples=500)
def test_both_servers_answer_a_call_alike(
    samples: Samples,
    port: Port,
    method: str,
    path: str,
    lines: list[str],
    body: str,
    chunk: int,
    version: str,
    cuts: set[int],
) -> None:
    """A well-formed call gets the same response, to the byte, from the listener and from the route
    in Quart."""

    def filled(text: str) -> str:
        return text.replace("{add}", samples.add).replace("{idle}", samples.idle)

    content = filled(body).encode("latin-1")
    lines = [filled(line) for line in lines]
    if chunk and version == "1.1":
        parts = [content[at : at + chunk] for at in range(0, len(content), chunk)]
        sent = request(method, filled(path), *lines, "Transfer-Encoding: chunked")
        sent += b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    else:
        sent = request(method, filled(path), *lines, body=content, version=version)
    answers = []
    for prefix in (b"", request("GET", "/livez")):
        with port.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(prefix)
            for piece in cut(sent, cuts):
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR) if False else None
            found = read_until_answered(client, method, 2 if prefix else 1)
        answers.append(comparable(found[-1]))
    assert answers[0] == answers[1]


def read_until_answered(client: socket.socket, method: str, count: int) -> list[Answer]:
    """So many answers, the last of them to a request with this method; not `100 Continue`."""
    read = b""
    methods = ["GET"] * (count - 1) + [method]
    while data := client.recv(1 << 16):
        read += data
        try:
            answers = [each for each in read_answers(read, *methods) if each.status != 100]
        except (AssertionError, ValueError, KeyError):
            continue  # not all of it is here
        if len(answers) == count:
            return answers
    raise AssertionError(f"it was closed after {read!r}")
