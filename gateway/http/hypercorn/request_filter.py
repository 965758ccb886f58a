"""The filter before Hypercorn: forwards the requests that the strict parser accepts, one by one.

A forwarded request is serialized again from its parsed form: the head from its `RequestHead`, the
body from its bytes. So Hypercorn reads plain HTTP/1.1 that cannot be upgraded, and cannot find
another request in it than the strict parser did. The next request waits until this one has been
answered. So an error in it is never taken for the response to an earlier request.
"""

from collections.abc import Awaitable, Callable

import trio

from gateway.http.chunked import ChunkedDecoder
from gateway.http.request_head import ProtocolError, RequestHead, end_of_head, parse_head
from gateway.http.timeouts import HttpTimeouts

# How much is read ahead of what is forwarded.
READ_AHEAD = 64 * 1024
# Chunks are parsed in slices: 16 KiB of the smallest chunks take 2 ms.
_SLICE = 16 * 1024
# An empty line that follows a body does not begin the next request.
_EMPTY = (b"", b"\r", b"\r\n")
# Headers that concern the connection alone, or would switch it to another protocol.
_DROPPED = {"connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "te"}
_DROPPED |= {"expect", "content-length", "transfer-encoding", "trailer"}


class Disconnected(Exception):
    """The client is gone or was idle for too long, or the gateway stops."""


class RequestFilter:
    """The requests of one connection. `read_ahead` and `forward` run side by side, each once.

    `first` are bytes that have been read from the stream already. `current` is the head of the
    request that is forwarded or answered now, `began` when it came (on Trio's clock), and `busy`
    whether its response is still to come.
    """

    def __init__(
        self, stream: trio.abc.ReceiveStream, first: bytes, timeouts: HttpTimeouts
    ) -> None:
        self.current: RequestHead | None = None
        self.began = 0.0
        self._stream = stream
        self._timeouts = timeouts
        self._read = bytearray(first)
        self._ended = False
        self._stopping = False
        self._answered = True
        # Whether the bytes that are forwarded belong to a body.
        self.forwards_body = False
        self._changed = trio.Event()

    @property
    def busy(self) -> bool:
        return not self._answered

    def answered(self) -> None:
        """To be called when the current request has been answered in full."""
        self._answered = True
        self._notify()

    def stop(self) -> None:
        """From now on a request counts only if its head is complete already."""
        self._stopping = True
        self._notify()

    async def read_ahead(self) -> None:
        """Reads ahead, so that a client that disconnects is noticed at once."""
        try:
            while data := await self._stream.receive_some(READ_AHEAD):
                self._read += data
                self._notify()
                while len(self._read) >= READ_AHEAD:
                    await self._changed.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._ended = True
        self._notify()

    async def forward(
        self,
        to: Callable[[bytes], Awaitable[None]],
        begin: Callable[[RequestHead], None] = lambda head: None,
    ) -> None:
        """Forwards one request after the other to `to`. `begin` gets each head first, and may raise
        ProtocolError or Refusal. Ends by raising one of them, or Disconnected."""
        while True:
            head = self.current = await self._next_head()
            self.forwards_body = False
            begin(head)
            await to(serialize_head(head))
            self.forwards_body = True
            if head.chunked:
                await self._forward_chunks(to)
            else:
                await self._forward_bytes(head.length, to)
            while not self._answered:
                await self._wait()

    async def _next_head(self) -> RequestHead:
        self.current = None
        with trio.move_on_after(self._timeouts.idle):
            while self._read in _EMPTY:
                await self._wait_unless_stopping()
        if self._read in _EMPTY:
            raise Disconnected
        seen = 0
        with trio.move_on_after(self._timeouts.head):
            while not (end := end_of_head(self._read, seen)):
                seen = len(self._read)
                await self._wait_unless_stopping()
            self._answered = False
            self.began = trio.current_time()
            return parse_head(self._take(end))
        raise ProtocolError(408, f"the head took more than {self._timeouts.head:g} s")

    async def _forward_bytes(self, left: int, to: Callable[[bytes], Awaitable[None]]) -> None:
        while left:
            data = await self._some(left)
            left -= len(data)
            await to(data)

    async def _forward_chunks(self, to: Callable[[bytes], Awaitable[None]]) -> None:
        chunks = ChunkedDecoder()
        while not chunks.ended:
            if data := chunks.feed(await self._some(_SLICE)):
                await to(b"%x\r\n%b\r\n" % (len(data), data))
        self._read[:0] = chunks.rest
        await to(b"0\r\n\r\n")

    async def _some(self, most: int) -> bytes:
        """At least one byte of a body."""
        with trio.move_on_after(self._timeouts.body_gap):
            while not self._read:
                await self._wait()
        if not self._read:
            raise ProtocolError(408, f"no part of the body came for {self._timeouts.body_gap:g} s")
        return self._take(most)

    def _take(self, most: int) -> bytes:
        taken = bytes(self._read[:most])
        del self._read[:most]
        self._notify()
        return taken

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _wait(self) -> None:
        """Waits for a change. Raises Disconnected when the client sends no more."""
        if self._ended:
            raise Disconnected
        await self._changed.wait()

    async def _wait_unless_stopping(self) -> None:
        if self._stopping:
            raise Disconnected
        await self._wait()


def serialize_head(head: RequestHead) -> bytes:
    """The head as Hypercorn gets it: of the same meaning, without what could switch protocols."""
    headers = {name: value for name, value in head.headers.items() if name not in _DROPPED}
    if head.chunked:
        headers["transfer-encoding"] = "chunked"
    elif "content-length" in head.headers:
        headers["content-length"] = str(head.length)
    if head.expects_continue:
        headers["expect"] = "100-continue"
    if not head.keep_alive:
        headers["connection"] = "close"
    lines = [f"{head.method} {head.target} HTTP/1.{head.minor}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
