"""The gate before Hypercorn: only requests that our own reader accepts get through, one at a time.

What gets through is written anew from what was understood: the head from its `Head`, the body from
its bytes. So whatever a client sent, Hypercorn reads plain HTTP/1.1 by which nothing can be
upgraded, and cannot see another request in it than we do. The next request waits until this one
has been answered; then what is wrong with it can be said, and nobody takes that for the answer to
another one.
"""

from collections.abc import Awaitable, Callable

import trio

from gateway.http.chunked import ChunkedDecoder
from gateway.http.request_head import Head, ProtocolError, end_of_head, read_head

HEAD_SECONDS = 10.0  # for a whole head, from its first byte
BODY_SECONDS = 30.0  # without any byte of a body
IDLE_SECONDS = 75.0  # from an answer to the next request

# So much is read ahead of what is let through.
_AHEAD = 64 * 1024
# Chunks are read in slices of so much: 16 KiB of the smallest take 2 ms.
_SLICE = 16 * 1024
# An empty line that follows a body does not begin the next request.
_NOTHING = (b"", b"\r", b"\r\n")
# What concerns the connection alone, or would switch it to another protocol.
_DROPPED = {"connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "te"}
_DROPPED |= {"expect", "content-length", "transfer-encoding", "trailer"}


class Disconnected(Exception):
    """The client went away, was idle for too long, or the gateway stops: nobody waits for more."""


class RequestFilter:
    """The requests of one connection. `pump` and `let_through` run side by side, each once.

    `first` are bytes that somebody else has read from the stream. `current` is the head of the
    request that is being let through or answered, `began` when that came (of Trio's clock), and
    `busy` whether it has not been answered yet.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, first: bytes) -> None:
        self.current: Head | None = None
        self.began = 0.0
        self._stream = stream
        self._read = bytearray(first)
        self._ended = False
        self._stopping = False
        self._answered = True
        # Whether what is handed on is of a body, and not a head.
        self.passes_body = False
        self._news = trio.Event()

    @property
    def busy(self) -> bool:
        return not self._answered

    def answered(self) -> None:
        """To be called when the current request has been answered in full."""
        self._answered = True
        self._tell()

    def stop(self) -> None:
        """From now on a request counts only if its head is complete already."""
        self._stopping = True
        self._tell()

    async def read_ahead(self) -> None:
        """Reads ahead, so that it is known at any time whether the client is still there."""
        try:
            while data := await self._stream.receive_some(_AHEAD):
                self._read += data
                self._tell()
                while len(self._read) >= _AHEAD:
                    await self._news.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._ended = True
        self._tell()

    async def forward(
        self,
        to: Callable[[bytes], Awaitable[None]],
        begin: Callable[[Head], None] = lambda head: None,
    ) -> None:
        """Hands one request after the other to `to`, when its head has been shown to `begin`, which
        may raise Malformed or Refusal. Ends by raising one of them, or Gone."""
        while True:
            head = self.current = await self._next_head()
            self.passes_body = False
            begin(head)
            await to(serialize_head(head))
            self.passes_body = True
            if head.chunked:
                await self._pass_chunks(to)
            else:
                await self._pass_bytes(head.length, to)
            while not self._answered:
                await self._wait()

    async def _next_head(self) -> Head:
        self.current = None
        with trio.move_on_after(IDLE_SECONDS):
            while self._read in _NOTHING:
                await self._wait_unless_stopping()
        if self._read in _NOTHING:
            raise Disconnected
        seen = 0
        with trio.move_on_after(HEAD_SECONDS):
            while not (end := end_of_head(self._read, seen)):
                seen = len(self._read)
                await self._wait_unless_stopping()
            self._answered = False
            self.began = trio.current_time()
            return read_head(self._take(end))
        raise ProtocolError(408, f"the head of the request took more than {HEAD_SECONDS:g} s")

    async def _pass_bytes(self, left: int, to: Callable[[bytes], Awaitable[None]]) -> None:
        while left:
            data = await self._some(left)
            left -= len(data)
            await to(data)

    async def _pass_chunks(self, to: Callable[[bytes], Awaitable[None]]) -> None:
        chunks = ChunkedDecoder()
        while not chunks.ended:
            if data := chunks.feed(await self._some(_SLICE)):
                await to(b"%x\r\n%b\r\n" % (len(data), data))
        self._read[:0] = chunks.rest
        await to(b"0\r\n\r\n")

    async def _some(self, most: int) -> bytes:
        """The next bytes of a body, one at least."""
        with trio.move_on_after(BODY_SECONDS):
            while not self._read:
                await self._wait()
        if not self._read:
            raise ProtocolError(408, f"nothing of the body came for {BODY_SECONDS:g} s")
        return self._take(most)

    def _take(self, most: int) -> bytes:
        taken = bytes(self._read[:most])
        del self._read[:most]
        self._tell()
        return taken

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _wait(self) -> None:
        """Until anything happens. Raises Gone where nothing can."""
        if self._ended:
            raise Disconnected
        await self._news.wait()

    async def _wait_unless_stopping(self) -> None:
        if self._stopping:
            raise Disconnected
        await self._wait()


def serialize_head(head: Head) -> bytes:
    """The head as Hypercorn gets it: equal in meaning, but for what could switch protocols."""
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
