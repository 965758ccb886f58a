"""The request filter: one request after the other, serialized again; slow or malformed requests do
not pass."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import h11
import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_one_way_pair

from gateway.http.hypercorn.request_filter import (
    READ_AHEAD,
    Disconnected,
    RequestFilter,
    serialize_head,
)
from gateway.http.request_head import ProtocolError, parse_head
from tests.faults.matrix import fault
from tests.gateway.http.raw_requests import BAD, GOOD, read, status_of
from tests.support.http_stage import TIMEOUTS

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Passing:
    """A filter between a client and an application that answers at once, unless told not to."""

    def __init__(self, first: bytes = b"", answering: bool = True) -> None:
        self.passed = b""
        self.answering = answering
        self.client: MemorySendStream
        stream: MemoryReceiveStream
        self.client, stream = memory_stream_one_way_pair()
        self.filter = RequestFilter(stream, first, TIMEOUTS)
        self.ended: Exception | None = None
        self.over = trio.Event()

    async def take(self, data: bytes) -> None:
        self.passed += data
        if self.answering:
            self.filter.answered()

    async def run(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.filter.read_ahead)
        try:
            await self.filter.forward(self.take)
        except (Disconnected, ProtocolError) as ended:
            self.ended = ended
        self.over.set()


@asynccontextmanager
async def passing(first: bytes = b"", answering: bool = True) -> AsyncIterator[Passing]:
    passing = Passing(first, answering)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(passing.run, nursery)
        yield passing
        nursery.cancel_scope.cancel()


@contextmanager
def takes(seconds: float) -> Iterator[None]:
    """Inside, `seconds` pass, on a clock that jumps."""
    started = trio.current_time()
    yield
    assert trio.current_time() - started == pytest.approx(seconds)


def refused(ended: Exception | None) -> int:
    assert isinstance(ended, ProtocolError)
    return ended.status


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
async def test_good_request_keeps_its_meaning(path: Path) -> None:
    """It comes out as it went in, without what could switch protocols; h11 reads it so."""
    sent = path.read_bytes()
    async with passing() as it:
        with trio.fail_after(10):
            for at in range(0, len(sent), 7):
                await it.client.send_all(sent[at : at + 7])
            await it.client.aclose()
            await it.over.wait()
        assert isinstance(it.ended, Disconnected)
        before, after = read(sent).requests, read(it.passed).requests
        assert [one.body for one in after] == [one.body for one in before]
        for one, other in zip(before, after, strict=True):
            fields = ("method", "target", "path", "minor", "length", "chunked", "expects_continue")
            for field in fields:
                assert getattr(one.head, field) == getattr(other.head, field), field
            assert not {"upgrade", "http2-settings"} & set(other.head.headers)
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=20_000)
            connection.receive_data(serialize_head(one.head))
            assert isinstance(connection.next_event(), h11.Request)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
async def test_bad_request_does_not_pass(path: Path) -> None:
    """Neither a bad head nor the end of a bad body comes out; what came out is well-formed."""
    async with passing(path.read_bytes()) as it:
        with trio.fail_after(10):
            await it.over.wait()
        assert refused(it.ended) == status_of(path)
        assert read(it.passed) == (read(path.read_bytes()).requests, 0)


async def test_next_request_waits_for_the_response() -> None:
    """It is not forwarded until the current one has been answered in full."""
    async with passing(GET + b"junk\n", answering=False) as it:
        await trio.testing.wait_all_tasks_blocked()
        assert len(read(it.passed).requests) == 1
        assert not it.over.is_set()
        it.filter.answered()
        await it.over.wait()
        assert refused(it.ended) == 400


async def test_disconnect_is_noticed_at_once() -> None:
    """Also behind requests that wait."""
    async with passing(GET, answering=False) as it:
        await it.client.send_all(GET)
        await it.client.aclose()
        await it.over.wait()
        assert isinstance(it.ended, Disconnected)


async def test_read_ahead_is_bounded() -> None:
    """A client that sends without waiting for responses is read no further than some KiB."""
    async with passing(GET, answering=False) as it:
        sent = 0
        with trio.move_on_after(1):
            while sent < 10_000_000:
                await it.client.send_all(GET * 1000)
                await trio.testing.wait_all_tasks_blocked()
                sent += len(GET) * 1000
                if len(it.filter._read) >= READ_AHEAD:
                    break
        buffered = len(it.filter._read)
        await it.client.send_all(GET * 1000)
        await trio.testing.wait_all_tasks_blocked()
        assert len(it.filter._read) == buffered < 200_000


@fault(
    "slow headers (admin API)",
    injection="a head that drips",
    bound="408 in its time",
)
async def test_head_has_its_time_in_all(autojump_clock: trio.testing.MockClock) -> None:
    """A head that drips steadily gets no more time."""
    async with passing() as it:
        await trio.sleep(20)
        with takes(TIMEOUTS.head):
            for byte in GET[:-2]:
                await it.client.send_all(bytes([byte]))
                with trio.move_on_after(1):
                    await it.over.wait()
                if it.over.is_set():
                    break
        assert refused(it.ended) == 408


async def test_idle_connection_ends_quietly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Fresh or between requests, if no more than a line end comes."""
    async with passing() as it:
        for _ in range(2):
            await trio.sleep(TIMEOUTS.idle - 1)
            await it.client.send_all(GET + b"\r\n")
        with takes(TIMEOUTS.idle):
            await it.over.wait()
        assert isinstance(it.ended, Disconnected)


async def test_long_response_is_not_idle(autojump_clock: trio.testing.MockClock) -> None:
    """A client is not cut off while its response takes long."""
    async with passing(GET, answering=False) as it:
        await trio.sleep(10 * TIMEOUTS.idle)
        assert not it.over.is_set()


@pytest.mark.parametrize("head", [POST.replace(b": 4", b": 40"), CHUNKED + b"30\r\n"])
async def test_body_may_take_long_but_not_pause(
    head: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """It is read as long as bytes come."""
    async with passing(head) as it:
        for _ in range(30):
            await trio.sleep(TIMEOUTS.body_gap - 1)
            await it.client.send_all(b"x")
        with takes(TIMEOUTS.body_gap):
            await it.over.wait()
        assert refused(it.ended) == 408


async def test_stop_ends_what_has_not_begun() -> None:
    """An idle client or half a head is disconnected; a whole head counts."""
    for first in (b"", GET[:-1]):
        async with passing(first) as it:
            await trio.testing.wait_all_tasks_blocked()
            it.filter.stop()
            await it.over.wait()
            assert isinstance(it.ended, Disconnected)
    it = Passing(POST)
    it.filter.stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run, nursery)
        await it.client.send_all(b"abcd")
        await it.over.wait()
        nursery.cancel_scope.cancel()
    assert [one.body for one in read(it.passed).requests] == [b"abcd"]


def test_serialized_head() -> None:
    """It has all that an application needs, once; the framing is rewritten."""
    head = parse_head(
        b"PUT http://y/z?a=b HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nCookie: c=d\r\n"
        b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
        b"Content-Length: 007\r\nExpect: 100-continue\r\nX-Latin: \xe9\r\n\r\n"
    )
    assert serialize_head(head).split(b"\r\n") == [
        b"PUT /z?a=b HTTP/1.1",
        b"host: y",
        b"cookie: a=b; c=d",
        b"x-latin: \xe9",
        b"content-length: 7",
        b"expect: 100-continue",
        b"connection: close",
        b"",
        b"",
    ]
