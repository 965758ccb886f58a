"""Bodies of model requests that come in pieces, and the memory that all of them may take.

Room for a body is reserved when it is announced, before any of it is read, so a client that
announces bodies and sends none leaves room for others. A chunked body takes room as it grows.
The code that makes a Body releases it, however it ends.
"""

from gateway.chunks import Chunks
from gateway.errors import Refusal
from gateway.shares import Shares


class Body:
    """A body that comes in pieces, and the memory it was given."""

    def __init__(
        self, memory: Shares, flow: str, length: int, chunks: Chunks | None, limit: int
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
        """Takes its own part of `data`; returns what follows it. Raises Malformed, Refusal."""
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
        if not self._memory.take(self._flow, size):
            raise Refusal("gateway.full", "too many bytes of requests are on their way")
        self._taken += size
