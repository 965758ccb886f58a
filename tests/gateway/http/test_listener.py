"""The listener on a real port, with a real reactor, and clients that end in every way."""

import errno
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trustme

from gateway.http.context import ConnectionStats, HttpContext
from gateway.http.listen_sockets import listen
from gateway.http.listener import LOCAL_CONNECTIONS, Listener
from gateway.http.peer_user import PeerUsers
from gateway.http.timeouts import HttpTimeouts
from gateway.http.tls import Stream
from tests.faults.matrix import fault
from tests.support.http_stage import (
    TIMEOUTS,
    Answer,
    StagedPool,
    echo,
    http_context,
    limits,
    post,
    read_answers,
    request,
)
from tests.support.polling import wait_until
from workers import Answered, Outcome, Reactor, Ticket

FALLBACK = b"HTTP/1.1 200 \r\ncontent-length: 8\r\n\r\nfallback"
MANY = 3


class Server:
    """A listener with its pool."""

    def __init__(
        self,
        listener: Listener,
        context: HttpContext,
        pool: StagedPool,
        port: int,
        reactor: Reactor,
    ) -> None:
        self.listener = listener
        self.context = context
        self.pool = pool
        self.port = port
        self.reactor = reactor

    async def connect(self, source: str = "127.0.0.1") -> trio.SocketStream:
        client = trio.socket.socket()
        await client.bind((source, 0))
        await client.connect(("127.0.0.1", self.port))
        return trio.SocketStream(client)

    @property
    def stats(self) -> ConnectionStats:
        return self.context.stats

    @property
    def connections(self) -> int:
        return self.stats.connections

    async def nothing_is_left(self) -> None:
        await wait_until(lambda: self.connections == 0)
        assert not self.listener._transports
        shares = self.context.connection_shares
        assert shares.free == shares.most
        assert not shares._taken
        assert self.context.request_memory.free == 10**8


@asynccontextmanager
async def opened(
    *,
    connections: int = 100,
    per_address: int = 100,
    tls: ssl.SSLContext | None = None,
    trusted: tuple[str, ...] = (),
    timeouts: HttpTimeouts = TIMEOUTS,
    users: type[PeerUsers] = PeerUsers,
    local_connections: int = LOCAL_CONNECTIONS,
) -> AsyncIterator[Server]:
    """A listener that is closed at the end; no descriptor is left then."""
    before = descriptors()
    reactor, pool = Reactor(), StagedPool()
    context = http_context(
        reactor,
        pool,
        limits=limits(connections=connections, per_address=per_address, body=10**7, memory=10**8),
        trusted=trusted,
        timeouts=timeouts,
    )
    with listen("127.0.0.1", 0) as listening:
        async with trio.open_nursery() as tasks:
            tasks.start_soon(reactor.run)
            listener = Listener(
                context,
                reactor=reactor,
                tasks=tasks,
                fallback=fallback,
                tls=tls,
                users=users(),
                local_connections=local_connections,
            )
            listener.open([listening])
            yield Server(listener, context, pool, listening.getsockname()[1], reactor)
            listener.stop()
            listener.close()
            tasks.cancel_scope.cancel()
    reactor.close()
    assert descriptors() == before


async def fallback(client: Stream, first: bytes) -> None:
    """The other server: answers after each empty line, until its client ends."""
    asked: bytes | bytearray = first
    with suppress(trio.BrokenResourceError):
        while True:
            for _ in range(asked.count(b"\r\n\r\n")):
                await client.send_all(FALLBACK)
            if not (asked := await client.receive_some()):
                break
    await trio.aclose_forcefully(client)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def all_of(stream: trio.abc.ReceiveStream) -> bytes:
    read = b""
    with trio.fail_after(10):
        while data := await stream.receive_some():
            read += data
    return read


async def ask(stream: trio.abc.Stream, *requests: bytes, count: int = 1) -> list[Answer]:
    """Sends, and reads `count` responses."""
    for each in requests:
        await stream.send_all(each)
    read = b""
    with trio.fail_after(10):
        while True:
            data = await stream.receive_some()
            assert data, f"it was closed after {read!r}"
            read += data
            with suppress(AssertionError):
                answers = read_answers(read)
                if len(answers) >= count:
                    return answers


def reset(stream: trio.SocketStream) -> None:
    """The client resets the connection."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def test_calls_and_other_requests_on_one_port() -> None:
    """The listener answers a call; the other server gets any other request, first or later."""
    async with opened() as server:
        server.pool.at_once = echo
        async with await server.connect() as stream:
            first, second = await ask(stream, post(1) + post("two"), count=2)
            assert (first.json["response"], second.json["response"]) == (1, "two")
            [other] = await ask(stream, request("GET", "/livez"))
            assert other.body == b"fallback"
            assert len(await ask(stream, post(1) * 3, count=3)) == 3
        async with await server.connect() as stream:
            await stream.send_all(request("GET", "/livez"))
            await stream.send_eof()
            assert await all_of(stream) == FALLBACK
        await server.nothing_is_left()
        assert server.stats.answers == {200: 2}
        assert server.stats.accepted == 2


# The limits of connections.


@fault(
    "more connections than allowed",
    injection="one too many",
    bound="503, and those there stay",
)
async def test_connection_beyond_the_limit_is_503() -> None:
    """It gets 503 and the end at once; the others are not affected."""
    async with opened(connections=2 * MANY - 1) as server:
        server.pool.at_once = echo
        clients = [await server.connect() for _ in range(MANY)]
        for client in clients:
            await ask(client, post(1))
        turned_away = await server.connect()
        [answer] = read_answers(await all_of(turned_away))
        assert (answer.status, answer.code) == (503, "gateway.overloaded")
        assert answer.headers["connection"] == "close"
        assert server.stats.rejected == 1
        for client in clients:
            await ask(client, post(2))
        for stream in (*clients, turned_away):
            await stream.aclose()
        await server.nothing_is_left()


async def test_network_has_its_own_limit() -> None:
    """One network cannot take all connections; a trusted proxy has a share of its own."""
    async with opened(per_address=1, trusted=("127.0.0.2",)) as server:
        server.pool.at_once = echo
        async with (
            await server.connect("127.0.0.1") as mine,
            await server.connect("127.0.0.2") as its,
        ):
            await ask(mine, post(1))
            async with await server.connect("127.0.0.3") as second:
                assert (await all_of(second)).startswith(b"HTTP/1.1 503")
            await ask(its, post(1))
        await server.nothing_is_left()


async def test_local_users_have_shares_of_their_own() -> None:
    """A local user who takes the whole share of one user leaves the others theirs."""
    uid = 1

    class Users(PeerUsers):
        def user_of(self, connection: socket.socket) -> int:
            return uid

    async with (
        opened(connections=20, users=Users, local_connections=2) as server,
        AsyncExitStack() as clients,
    ):

        async def fill() -> int:
            """How many connections are accepted."""
            before = server.connections
            while not server.stats.rejected:
                stream = await clients.enter_async_context(await server.connect())
                await wait_until(lambda: server.stats.accepted > len(streams))
                streams.append(stream)
            server.stats.rejected = 0
            return server.connections - before

        streams: list[trio.SocketStream] = []
        first = await fill()
        uid = 2
        second = await fill()
        assert (first, second) == (11, 5)
        await clients.aclose()
        await server.nothing_is_left()


async def closes(server: Server, stream: trio.SocketStream) -> None:
    await stream.aclose()
    await finish_half_closed(server)


async def vanishes(server: Server, stream: trio.SocketStream) -> None:
    reset(stream)


async def half_closes(server: Server, stream: trio.SocketStream) -> None:
    await stream.send_eof()
    await finish_half_closed(server)
    await all_of(stream)
    await stream.aclose()


async def finish_half_closed(server: Server) -> None:
    """A client that closed while a replica works looks like one that only sends no more."""
    if server.pool.running:
        await wait_until(lambda: next(iter(server.listener._transports)).connection._ended)
        server.pool.answer()


STAGES: dict[str, bytes] = {
    "nothing": b"",
    "half a head": post(1)[:30],
    "half a body": post(1)[:-3],
    "half a body in chunks": request("POST", "/model", "Transfer-Encoding: chunked") + b"a\r\nabc",
    "queued": post(1),
    "running": post(1),
    "answered": post(1),
    "last answer": post(1, "Connection: close"),
    "malformed": b"\x16\x03\x01",
    "fallback": request("GET", "/livez"),
    "fallback after a call": post(1) + request("GET", "/livez"),
}


@pytest.mark.parametrize("way", [closes, vanishes, half_closes])
@pytest.mark.parametrize("stage", STAGES)
async def test_connection_is_released_in_any_way(
    stage: str, way: Callable[[Server, trio.SocketStream], Awaitable[None]]
) -> None:
    """At any stage: its count, its ticket, its memory and its descriptor."""
    async with opened(connections=1) as server:
        server.pool.at_once = None if stage in ("queued", "running") else echo
        stream = await server.connect()
        await wait_until(lambda: server.connections == 1)
        await stream.send_all(STAGES[stage])
        if stage in ("queued", "running"):
            await wait_until(lambda: server.pool.waiting)
            if stage == "running":
                server.pool.begin()
        elif stage in ("answered", "last answer", "malformed") or "fallback" in stage:
            with trio.fail_after(10):
                await stream.receive_some()
        else:
            await wait_until(lambda: read_so_far(server) == len(STAGES[stage]))
        await way(server, stream)
        await server.nothing_is_left()
        assert server.pool.tickets == 0
        server.pool.at_once = echo
        async with await server.connect() as another:
            await ask(another, post(1))


def read_so_far(server: Server) -> int:
    """How many bytes have come of an incomplete request."""
    sizes = []
    for transport in server.listener._transports:
        connection = transport.connection
        body = connection._body
        sizes.append(len(connection._unread))
        if body is not None:  # its bytes need not be looked for: its head was read with them
            return len(STAGES["half a body" if body._chunks is None else "half a body in chunks"])
    return sum(sizes)


async def test_half_closed_client_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a replica works for a client that sends no more, the reactor sleeps."""
    async with opened() as server:
        turns = 0
        serve = server.reactor._serve

        def counted() -> bool:
            nonlocal turns
            turns += 1
            return serve()

        monkeypatch.setattr(server.reactor, "_serve", counted)
        stream = await server.connect()
        await stream.send_all(post(1))
        await wait_until(lambda: server.pool.waiting)
        server.pool.begin()
        await stream.send_eof()
        await wait_until(lambda: next(iter(server.listener._transports)).connection._ended)
        await trio.testing.wait_all_tasks_blocked(0.01)
        before = turns
        await trio.sleep(0.2)
        assert turns - before <= 3
        server.pool.answer()
        [answer] = read_answers(await all_of(stream))
        assert (answer.json["response"], answer.headers["connection"]) == (1, "close")
        await stream.aclose()
        await server.nothing_is_left()


# Trouble.


class ExhaustedSocket(socket.socket):
    """A listening socket whose `accept` fails for a while."""

    tries = 0
    rich = False

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.rich:
            self.tries += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@fault(
    "no descriptors (listener)",
    injection="accept fails with EMFILE",
    bound="it rests and accepts again",
)
async def test_accepting_pauses_without_descriptors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is tried again from time to time, without spinning, until there are descriptors."""
    async with opened(timeouts=HttpTimeouts(accept_pause=0.05)) as server:
        server.pool.at_once = echo
        [real] = server.listener._listeners
        server.listener._close_listening()
        with ExhaustedSocket(fileno=os.dup(real.fileno())) as poor:
            poor.setblocking(False)
            server.listener.open([poor])
            async with await server.connect() as served, await server.connect() as also:
                await wait_until(lambda: poor.tries >= 2)
                assert "accepting.paused seconds=0.05: Too many open files" in caplog.text
                began, tries = trio.current_time(), poor.tries
                await wait_until(lambda: poor.tries >= tries + 3)
                assert trio.current_time() - began >= 0.1
                poor.rich = True
                await ask(served, post(1))
                await ask(also, post(1))
            await server.nothing_is_left()
            poor.rich = False
            async with await server.connect():
                await wait_until(lambda: not server.listener._listeners)
                server.listener.stop()  # and it does not open again
                await trio.sleep(0.1)
                assert not server.listener._listeners


@fault(
    "slow read",
    injection="a client that never reads its answers",
    bound="others are answered as before",
)
async def test_slow_reader_stalls_no_other_client() -> None:
    """A large response waits for its own client, until a deadline. Others are served, also with
    large responses, and a slow client that reads gets all of its own."""
    large = "x" * 9_000_000
    async with opened(timeouts=HttpTimeouts(send=1.0)) as server:
        server.pool.at_once = echo
        deaf = await server.connect()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with trio.move_on_after(10):
            await deaf.send_all(post(large))
        await wait_until(lambda: 200 in server.stats.answers)
        async with await server.connect() as other:
            for number in range(20):
                [answer] = await ask(other, post(number))
                assert answer.json["response"] == number
            await other.send_all(post(large, "Connection: close"))
            [answer] = read_answers(await all_of(other))
            assert answer.json["response"] == large
        await server.nothing_is_left()
        with suppress(trio.BrokenResourceError):
            assert len(await all_of(deaf)) < len(large)
        await deaf.aclose()


def fail(ticket: Ticket) -> Outcome:
    raise ZeroDivisionError


async def test_exception_ends_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """An exception is logged and ends its connection; the others continue."""
    async with opened() as server:
        server.pool.at_once = echo
        async with await server.connect() as fine, await server.connect() as unlucky:
            await ask(fine, post(1))
            server.pool.at_once = fail
            await unlucky.send_all(post(1))
            assert await all_of(unlucky) == b""
            assert "ZeroDivisionError" in caplog.text
            server.pool.at_once = echo
            await ask(fine, post(1))
        await server.nothing_is_left()


# The end.


async def test_stop_answers_requests_that_have_begun() -> None:
    """An idle connection is closed at once; a waiting request is answered as the last one."""
    async with opened() as server:
        idle, half, waiting = [await server.connect() for _ in range(3)]
        await half.send_all(post(2)[:-1])
        await waiting.send_all(post(1) + post(3))
        await wait_until(lambda: server.pool.waiting and server.context.request_memory.free < 10**8)
        await wait_until(lambda: server.connections == 3)
        server.listener.stop()
        assert await all_of(idle) == b""
        server.pool.answer()
        [answer] = read_answers(await all_of(waiting))
        assert (answer.json["response"], answer.headers["connection"]) == (1, "close")
        await waiting.aclose()
        await half.send_all(post(2)[-1:])
        await wait_until(lambda: server.pool.waiting)
        with trio.move_on_after(0.02) as early:
            await server.listener.wait_answered()
        assert early.cancelled_caught
        server.pool.answer()
        [answer] = read_answers(await all_of(half))
        assert answer.headers["connection"] == "close"
        await half.aclose()
        with trio.fail_after(10):
            await server.listener.wait_answered()
        await idle.aclose()
        await server.nothing_is_left()


async def test_close_ends_all_connections() -> None:
    """Nothing of any client is left after it."""
    async with opened() as server:
        streams = [await server.connect() for _ in range(4)]
        for stream, sent in zip(streams, (b"", post(1)[:20], post(1)[:-1], post(1)), strict=True):
            await stream.send_all(sent)
        await wait_until(lambda: server.pool.waiting and server.connections == 4)
        server.listener.stop()
        server.listener.close()
        assert server.connections == 0
        assert server.pool.tickets == 0
        with trio.fail_after(10):
            await server.listener.wait_answered()
        for stream in streams:
            with suppress(trio.BrokenResourceError):
                assert await all_of(stream) == b""
            await stream.aclose()


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def connect_tls(server: Server, authority: trustme.CA) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    stream = trio.SSLStream(
        await server.connect(), context, server_hostname="localhost", https_compatible=True
    )
    await stream.do_handshake()
    return stream


async def test_calls_and_other_requests_over_tls(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """Calls, large ones too, and then the other server."""
    large = "x" * 3_000_000
    async with opened(tls=tls) as server:
        server.pool.at_once = echo
        stream = await connect_tls(server, authority)
        first, second = await ask(stream, post(1) + post(2), count=2)
        assert (first.json["response"], second.json["response"]) == (1, 2)
        [answer] = await ask(stream, post(large))
        assert answer.json["response"] == large
        [answer] = await ask(stream, request("GET", "/livez"))
        assert answer.body == b"fallback"
        await stream.aclose()
        await server.nothing_is_left()


@pytest.mark.parametrize("echoes", [True, False], ids=["at once", "later"])
async def test_call_and_other_request_in_one_write_over_tls(
    authority: trustme.CA, tls: ssl.SSLContext, echoes: bool
) -> None:
    """The request after a call is handed over with the response, though no more bytes come."""
    async with opened(tls=tls) as server:
        server.pool.at_once = echo if echoes else None
        stream = await connect_tls(server, authority)
        await stream.send_all(post(1) + request("GET", "/livez"))
        if not echoes:
            await wait_until(lambda: server.pool.waiting)
            server.pool.answer()
        answers = await ask(stream, count=2)
        assert answers[1].body == b"fallback"
        assert len(await ask(stream, request("GET", "/x"))) == 1
        await stream.aclose()
        await server.nothing_is_left()


async def test_last_response_over_tls(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """It arrives whole, and then the end, though the client still sends."""
    async with opened(tls=tls) as server:
        server.pool.at_once = echo
        stream = await connect_tls(server, authority)
        await stream.send_all(post(1, "Connection: close") + post(2))
        [answer] = read_answers(await all_of(stream))
        assert answer.headers["connection"] == "close"
        await stream.aclose()
        await server.nothing_is_left()


async def test_client_without_tls_affects_no_other(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """Plain HTTP, junk, silence and a disconnect during the handshake."""
    async with opened(tls=tls, timeouts=HttpTimeouts(handshake=0.3)) as server:
        server.pool.at_once = echo
        plain, silent, gone = [await server.connect() for _ in range(3)]
        await plain.send_all(post(1))
        await gone.send_all(b"\x16\x03\x01\x02\x00")
        reset(gone)
        for one in (plain, silent):
            with suppress(trio.BrokenResourceError):
                assert b"HTTP" not in await all_of(one)
            await one.aclose()
        await server.nothing_is_left()
        stream = await connect_tls(server, authority)
        await ask(stream, post(1))
        await stream.aclose()


@pytest.mark.parametrize("stage", ["handshake", "idle", "queued", "running", "deaf", "fallback"])
@pytest.mark.parametrize("way", ["closes", "vanishes", "is closed"])
async def test_tls_connection_is_released_in_any_way(
    authority: trustme.CA, tls: ssl.SSLContext, stage: str, way: str
) -> None:
    """At any stage, however it ends."""
    async with opened(tls=tls, connections=1) as server:
        if stage == "handshake":
            transport = await server.connect()
            await wait_until(lambda: server.connections == 1)
        else:
            stream = await connect_tls(server, authority)
            transport = stream.transport_stream
            server.pool.at_once = None if stage in ("queued", "running") else echo
            if stage in ("queued", "running"):
                await stream.send_all(post(1))
                await wait_until(lambda: server.pool.waiting)
                if stage == "running":
                    server.pool.begin()
            elif stage == "deaf":
                await stream.send_all(post("x" * 9_000_000))
                await wait_until(lambda: 200 in server.stats.answers)
            elif stage == "fallback":
                await ask(stream, request("GET", "/livez"))
        if way == "is closed" and stage != "fallback":
            server.listener.close()
        elif way == "vanishes":
            reset(transport)
        else:
            await transport.aclose()
        if stage == "running" and way == "closes":
            server.pool.running[0].settle(Answered(b"1", "replica-1"))
        await server.nothing_is_left()
        assert server.pool.tickets == 0
        await transport.aclose()


async def test_connection_beyond_the_limit_over_tls_is_closed(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """Without a handshake it gets no response."""
    async with opened(tls=tls, connections=1) as server, await server.connect():
        await wait_until(lambda: server.connections == 1)
        async with await server.connect() as second:
            assert await all_of(second) == b""


async def test_stop_over_tls(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """A handshake and an idle connection are closed at once, a waiting request is answered."""
    async with opened(tls=tls) as server:
        handshake = await server.connect()
        idle, waiting = await connect_tls(server, authority), await connect_tls(server, authority)
        await waiting.send_all(post(1))
        await wait_until(lambda: server.pool.waiting)
        server.listener.stop()
        assert await all_of(idle) == b""
        with suppress(trio.BrokenResourceError):
            assert await all_of(handshake) == b""
        server.pool.answer()
        [answer] = read_answers(await all_of(waiting))
        assert answer.headers["connection"] == "close"
        for stream in (handshake, idle, waiting):
            await stream.aclose()
        with trio.fail_after(10):
            await server.listener.wait_answered()
        await server.nothing_is_left()
