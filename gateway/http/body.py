"""Request bodies that come in pieces, and the memory that all of them may take.

The memory of a body is taken when the body is announced, before any of it is read. So a client that
announces bodies and sends none leaves memory for others. A chunked body takes memory as it grows.
One body gets no more than half of the total, even if the limit of its request is higher. The code
that makes a Body or a ForwardedBody releases it, however it ends.
"""

from gateway.errors import Refusal
from gateway.http.chunked import ChunkedDecoder
from gateway.http.fair_shares import FairShares


class Body:
    """A body that comes in pieces, and its memory."""

    def __init__(
        self, memory: FairShares, flow: str, length: int, chunks: ChunkedDecoder | None, limit: int
    ) -> None:
        self._memory = memory
        self._flow = flow
        self._chunks = chunks
        self._limit = limit
        # Not a list: the pieces of a client that sends byte by byte would take many times more.
        self._data = bytearray()
        self._left = length
        self._taken = 0
        self._take(length)

    def feed(self, data: bytes) -> bytes:
        """Reads its own part of `data`; returns what follows. Raises ProtocolError, Refusal."""
        if self._chunks is None:
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
        else:
            piece = self._chunks.feed(data)
            data = self._chunks.rest
            self._take(len(piece))
        self._data += piece
        return data

    @property
    def complete(self) -> bool:
        return self._left == 0 if self._chunks is None else self._chunks.ended

    def join(self) -> bytes:
        return bytes(self._data)

    def release(self) -> None:
        self._memory.give(self._flow, self._taken)
        self._taken = 0

    def _take(self, size: int) -> None:
        if self._taken + size > self._limit:
            raise Refusal("request.toolarge", f"the body is larger than {self._limit} bytes")
        _take(self._memory, self._flow, self._taken, size)
        self._taken += size


class ForwardedBody:
    """A body that is forwarded to the application, which keeps it until it has answered, but no
    more than `most` bytes of it."""

    def __init__(self, memory: FairShares, flow: str, length: int, most: int) -> None:
        self._memory = memory
        self._flow = flow
        self._most = most
        self._taken = 0
        self._forwarded = 0
        self._take(min(length, most))

    def grow(self, size: int) -> None:
        """`size` more bytes are forwarded. Raises Refusal."""
        self._forwarded = min(self._forwarded + size, self._most)
        self._take(max(0, self._forwarded - self._taken))

    def release(self) -> None:
        self._memory.give(self._flow, self._taken)
        self._taken = 0

    def _take(self, size: int) -> None:
        _take(self._memory, self._flow, self._taken, size)
        self._taken += size


def _take(memory: FairShares, flow: str, taken: int, size: int) -> None:
    if size and (taken + size > memory.most // 2 or not memory.take(flow, size)):
        raise Refusal("gateway.overloaded", "too many bytes of requests are in flight")
