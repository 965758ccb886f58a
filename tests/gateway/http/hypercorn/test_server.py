"""The HTTP server: no client can end it, delay it, or affect another connection."""

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from gateway.http.listen_sockets import PortTaken, listen
from gateway.http.timeouts import HttpTimeouts
from tests.faults.matrix import fault
from tests.gateway.http.raw_requests import BAD, GOOD, read, status_of
from tests.support.gateway import Gateway, running, settings_for

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
HOSTILE = {path.stem: path.read_bytes() for path in BAD + GOOD} | {"nothing": b""}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    timeouts = HttpTimeouts(linger=0.2)
    async with running(settings_for(tmp_path / "data"), timeouts=timeouts) as gateway:
        yield gateway


async def connect(gateway: Gateway) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", gateway.port)


async def alive(gateway: Gateway) -> bool:
    return (await gateway.models.get("/livez")).status_code == 200


async def ends(stream: trio.SocketStream) -> bytes:
    """All bytes until the other side closes; then this side does."""
    read = b""
    async with stream:
        with suppress(trio.BrokenResourceError), trio.fail_after(10):
            while data := await stream.receive_some():
                read += data
    return read


@fault(
    "bytes that ended the server under it",
    injection="h2c upgrades, cleartext h2, odd WebSocket headers, resets",
    bound="they cost their own connection",
)
async def test_hostile_bytes_end_their_connection_only(gateway: Gateway) -> None:
    """The server continues after any first bytes and any end of a client."""
    for name, first in HOSTILE.items():
        for half in (first, first[: len(first) // 2]):
            stream = await connect(gateway)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(half)
                await stream.send_eof()
            await ends(stream)
        assert await alive(gateway), name


@fault(
    "malformed and smuggled requests",
    injection="a corpus of them",
    bound="the status in its name, then the end",
)
async def test_bad_request_is_refused(gateway: Gateway) -> None:
    """Each request of the corpus gets the status in its name, as JSON, and then the end."""
    for path in BAD:
        stream = await connect(gateway)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(path.read_bytes())
        before, _ = read(path.read_bytes())
        *answers, refusal = split(await ends(stream))
        assert len(answers) == len(before), path.stem
        assert refusal.startswith(b"HTTP/1.1 %d " % status_of(path)), path.stem
        assert b"\r\nconnection: close\r\n" in refusal
        body = json.loads(refusal.partition(b"\r\n\r\n")[2])
        assert body["error"]["code"].startswith("request.")
    assert await alive(gateway)


async def test_good_requests_are_answered(gateway: Gateway) -> None:
    """Each request of the corpus gets an answer of the application, and nothing is upgraded."""
    for path in GOOD:
        requests = read(path.read_bytes()).requests
        stream = await connect(gateway)
        await stream.send_all(path.read_bytes())
        if all(request.head.keep_alive and request.head.minor for request in requests):
            await stream.send_all(LAST)
            requests.append(read(LAST).requests[0])
        answers = split(await ends(stream))
        # An answer that did not wait for the request's body may be the last (gotcha G4).
        closed = b"connection: close" in answers[-1] and any(one.body for one in requests)
        assert len(answers) == len(requests) or closed, path.stem
        for answer in answers:
            assert not answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 500")), path.stem
            assert b"x-request-id: " in answer
    assert await alive(gateway)


def split(received: bytes) -> list[bytes]:
    """The final responses, one after the other."""
    replies = re.split(rb"(?=HTTP/1\.1 \d\d\d )", received)[1:]
    return [reply for reply in replies if not reply.startswith(b"HTTP/1.1 100 ")]


async def test_stop_amid_hostile_bytes(tmp_path: Path) -> None:
    """A shutdown amid all of them is orderly."""
    async with trio.open_nursery() as nursery, running(settings_for(tmp_path / "data")) as gateway:
        for first in HOSTILE.values():
            stream = await connect(gateway)
            await stream.send_all(first)
            nursery.start_soon(ends, stream)


async def test_early_response_arrives_before_the_end(gateway: Gateway) -> None:
    """A client that is refused before its body was sent gets the response, and then the end."""
    stream = await connect(gateway)
    await stream.send_all(
        b"PUT /api/v2/projects/x/files HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 3000000\r\n\r\n"
    )
    await stream.send_all(b"x" * 3_000_000)
    answer = await ends(stream)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer
    assert answer.endswith(b"}")


async def test_idle_connection_is_closed(tmp_path: Path) -> None:
    """A connection without a request is closed after a while, also after it was used."""
    timeouts = HttpTimeouts(idle=0.2)
    async with running(settings_for(tmp_path / "data"), timeouts=timeouts) as gateway:
        fresh, used = await connect(gateway), await connect(gateway)
        await used.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await ends(used)).endswith(b'{"status":"ok"}')
        assert await ends(fresh) == b""


async def test_many_requests_on_one_connection(gateway: Gateway) -> None:
    """A connection serves further requests, in order."""
    stream = await connect(gateway)
    for _ in range(3):
        await stream.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    await stream.send_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answers = await ends(stream)
    assert answers.count(b"HTTP/1.1 200") == 6
    assert answers.count(b"HTTP/1.1 404") == 1


async def test_client_that_never_reads_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    """The grace bounds the shutdown, also while a response is stuck in a client's full buffer."""
    settings = settings_for(tmp_path / "data", shutdown_grace=0.3)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with running(settings) as gateway:
            deaf.connect(("127.0.0.1", gateway.port))
            deaf.setblocking(False)
            asking = trio.socket.from_stdlib_socket(deaf.dup())
            with trio.move_on_after(0.5), asking:
                while True:  # until its answers no longer fit anywhere
                    await asking.send(
                        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
                    )
            assert await alive(gateway)
            stopped = trio.current_time()
        assert trio.current_time() - stopped < 5


@fault(
    "a client that never reads (admin API)",
    injection="its buffers stay full",
    bound="it is closed in time",
)
async def test_client_that_never_reads_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A send that does not complete has a deadline, after which the connection is closed."""
    timeouts = HttpTimeouts(send=0.2, linger=0.1)
    caplog.set_level(logging.INFO)
    async with running(settings_for(tmp_path / "data"), timeouts=timeouts) as gateway:
        stream = await connect(gateway)
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(20):  # noqa: PT012
            while True:  # until it is cut off
                await stream.send_all(
                    b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
                )
        assert await alive(gateway)
        await stream.aclose()


def test_port_in_use_is_named() -> None:
    """The error names the port."""
    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(PortTaken, match=str(taken.getsockname()[1])),
    ):
        listen("127.0.0.1", taken.getsockname()[1])


def test_listening_socket_is_not_inherited() -> None:
    """No child process of the gateway has its port."""
    with listen("127.0.0.1", 0) as listener:
        assert not listener.get_inheritable()
        look = f"import os; os.fstat({listener.fileno()})"
        child = subprocess.run(
            [sys.executable, "-c", look], close_fds=False, capture_output=True, check=False
        )
        assert b"Bad file descriptor" in child.stderr


async def test_connection_has_no_request_limit(gateway: Gateway) -> None:
    """A connection is not closed after many requests."""
    many = 1_100
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with stream:
        for _ in range(many):
            await stream.send_all(request)
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                part = await stream.receive_some()
                assert part, "it was cut off"
                answer += part
            assert b"connection: close" not in answer.lower()
