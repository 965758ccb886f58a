"""One connection of Hypercorn: its responses are its own, and its end affects no other."""

import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import Response, request
from quart_trio import QuartTrio

from gateway.http.hypercorn.server import HypercornServer
from gateway.http.proxies import Proxies
from gateway.http.timeouts import HttpTimeouts
from tests.gateway.http.raw_requests import mistaken, read
from tests.support.http_stage import TIMEOUTS, StagedPool, http_context, limits
from tests.support.polling import wait_until
from workers import Reactor

MEMORY = 4 << 20
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Application:
    """`/echo` answers with the body, `/wait` when it may, `/early` begins before the body."""

    def __init__(self) -> None:
        self.began = trio.Event()
        self.let = trio.Event()
        self.ended = trio.Event()
        self.app = QuartTrio(__name__)
        self.app.add_url_rule("/echo", view_func=self.echo, methods=["GET", "POST"])
        for path in ("/wait", "/api/v2/wait"):
            self.app.add_url_rule(path, path, self.wait, methods=["GET", "POST"])
        self.app.add_url_rule("/early", view_func=self.early, methods=["POST"])

    async def echo(self) -> Response:
        return Response(await request.get_data())

    async def wait(self) -> str:
        self.began.set()
        try:
            await self.let.wait()
        finally:
            self.ended.set()
        return "waited"

    async def early(self) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            await self.wait()

        return Response(parts())


class Serving(Application):
    """A server of that application."""

    def __init__(self, nursery: trio.Nursery, timeouts: HttpTimeouts) -> None:
        super().__init__()
        self.context = http_context(
            Reactor(),
            StagedPool(),
            limits=limits(body=MEMORY, memory=MEMORY),
            timeouts=timeouts,
        )
        self.memory = self.context.request_memory
        self.server = HypercornServer(self.app, self.context)
        self._nursery = nursery

    def connect(self, first: bytes = b"") -> trio.SocketStream:
        """The client's side of a new connection, of which `first` has been read already."""
        ours, theirs = socket.socketpair()
        for side in (ours, theirs):
            side.setblocking(False)
        server = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        self._nursery.start_soon(self.server.serve, server, first)
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))


@asynccontextmanager
async def serving(timeouts: HttpTimeouts = TIMEOUTS) -> AsyncIterator[Serving]:
    async with trio.open_nursery() as nursery:
        serving = Serving(nursery, timeouts)
        with trio.fail_after(20):
            yield serving
        nursery.cancel_scope.cancel()


async def all_of(stream: trio.SocketStream) -> bytes:
    received = b""
    async with stream:
        while data := await stream.receive_some():
            received += data
    return received


def refusal(received: bytes) -> tuple[int, str]:
    """Status and code of the only response."""
    assert received.count(b"\r\n\r\n") == 1
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close\r\n" in head
    return int(head.split()[1]), json.loads(body)["error"]["code"]


async def test_bytes_read_before_come_first() -> None:
    """A connection may be detached with the beginning of what its client sent."""
    post = CHUNKED % b"/echo" + b"5\r\nhello\r\n0\r\n\r\n"
    async with serving() as it:
        for at in (0, 10, len(post) - 3, len(post)):
            stream = it.connect(first=GET + post[:at])
            await stream.send_all(post[at:] + GET.replace(b"x", b"x\r\nConnection: close"))
            received = await all_of(stream)
            assert received.count(b"HTTP/1.1 200 ") == 3
            assert received.count(b"\r\n\r\nhello") == 1


async def test_bad_body_ends_its_request() -> None:
    """Its client gets one refusal, and the handler ends."""
    async with serving() as it:
        stream = it.connect()
        await stream.send_all(CHUNKED % b"/wait" + b"2\r\nab\r\n")
        await it.began.wait()
        await stream.send_all(b"no size\r\n")
        assert refusal(await all_of(stream)) == (400, "request.malformed")
        await it.ended.wait()


async def test_bad_body_cuts_a_response_that_has_begun() -> None:
    """Nothing is written in the midst of a response; its client sees that it is cut off."""
    async with serving() as it:
        stream = it.connect()
        await stream.send_all(CHUNKED % b"/early" + b"2\r\nab\r\n")
        await it.began.wait()
        await stream.send_all(b"no size\r\n")
        received = await all_of(stream)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert received.endswith(b"begun\r\n")


async def test_slow_client_is_408() -> None:
    """A head or a body that does not come in its time is answered 408."""
    async with serving(HttpTimeouts(head=0.1, body_gap=0.1)) as it:
        for sent in (GET[:-1], CHUNKED % b"/echo", CHUNKED % b"/echo" + b"2\r\na"):
            stream = it.connect()
            await stream.send_all(sent)
            assert refusal(await all_of(stream)) == (408, "request.timeout")


async def test_refusal_below_api_prefix_has_the_admin_body() -> None:
    """A refused request to the admin API gets the admin API's body."""
    async with serving() as it:
        stream = it.connect()
        await stream.send_all(CHUNKED % b"/api/v2/wait" + b"no size\r\n")
        body = json.loads((await all_of(stream)).partition(b"\r\n\r\n")[2])
        assert body["details"][0]["code"] == "request.malformed"


async def test_disconnect_ends_the_request() -> None:
    """No handler continues for a client that is gone."""
    async with serving() as it:
        stream = it.connect()
        await stream.send_all(GET.replace(b"/echo", b"/wait"))
        await it.began.wait()
        await stream.aclose()
        await it.ended.wait()


async def test_stop_ends_idle_connections() -> None:
    """When the server stops, a running request is the last of its connection, and idle connections
    end."""
    async with serving(HttpTimeouts(linger=0.1)) as it:
        idle, busy = it.connect(), it.connect()
        await idle.send_all(GET)
        assert b"connection: close" not in await idle.receive_some()
        await busy.send_all(GET.replace(b"/echo", b"/wait"))
        await it.began.wait()
        await it.server.stop(trio.current_time() + 10)
        assert await all_of(idle) == b""
        it.let.set()
        received = await all_of(busy)
        assert b"\r\nconnection: close\r\n" in received
        assert received.endswith(b"waited")
        # One that was accepted before, and is handed over only now.
        received = await all_of(it.connect(first=GET))
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in received
        assert await all_of(it.connect()) == b""


@given(mistaken(), st.integers(1, 2000))
@settings(deadline=None)
async def test_no_request_is_answered_twice(sent: bytes, size: int) -> None:
    """With any bytes in any pieces, each request has at most one response, and then the end."""
    async with serving() as it:
        stream = it.connect()
        with suppress(trio.BrokenResourceError):
            for at in range(0, len(sent), size):
                await stream.send_all(sent[at : at + size])
            await stream.send_eof()
        answers = re.findall(rb"^HTTP/1.1 (?!100)(\d+)", await all_of(stream), re.MULTILINE)
        # One more for the refusal, or for a request whose answer did not need its body.
        assert len(answers) <= len(read(sent).requests) + 1
        assert not {b"101", b"500"} & set(answers)


class BrokenProxies(Proxies):
    """Raises an error that no code expects."""

    def is_public(self, headers: Mapping[str, str]) -> bool:
        raise RuntimeError("unexpected")


async def test_exception_ends_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """An exception ends its own connection, and is logged."""
    caplog.set_level(logging.INFO)
    async with serving() as it:
        it.context.proxies = BrokenProxies()
        assert await all_of(it.connect(first=GET)) == b""
        assert "connection.failed" in caplog.text
        assert "RuntimeError: unexpected" in caplog.text
        it.context.proxies = Proxies()
        async with it.connect(first=GET) as stream:
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_body_memory_is_taken_until_the_response() -> None:
    """A body has its memory while the application keeps it; beyond the limit it is refused; all is
    released with the response or the client."""
    async with serving() as it:
        big = b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n"
        first = it.connect(big)
        chunked = it.connect(CHUNKED % b"/wait" + b"61a80\r\n" + b"x" * 400_000 + b"\r\n")
        await wait_until(lambda: it.memory.free <= MEMORY - 800_000)
        assert it.memory.free >= MEMORY - 801_000
        others = [it.connect(big) for _ in range(20)]
        # Five have half of it, whichever they are, and then there is no more for this client.
        await wait_until(lambda: it.memory.free <= MEMORY - 2_000_000)
        assert it.memory.free >= MEMORY - 2_001_000
        assert refusal(await all_of(it.connect(big))) == (503, "gateway.overloaded")
        for stream in (first, chunked, *others):
            await stream.aclose()
        await wait_until(lambda: it.memory.free == MEMORY)
        assert not it.memory._taken
        stream = it.connect(CHUNKED.replace(b"x\r", b"x\r\nConnection: close\r") % b"/echo")
        await stream.send_all(b"5\r\nhello\r\n0\r\n\r\n")
        assert (await all_of(stream)).endswith(b"hello")
        await wait_until(lambda: it.memory.free == MEMORY)
        assert it.context.send_buffers.unsent == 0
