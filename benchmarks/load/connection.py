"""One connection of a generator: at most one pending request, and its answer.

It is raw asyncio, since an HTTP library would cost more than the server. It reads only answers with
a head and a body of a stated length, as all servers here send.
"""

import asyncio
from collections.abc import Callable
from typing import cast


class Connection(asyncio.Protocol):
    """Sends a request and passes its answer to `on_answer`. Calls `on_end` if the server closes it.

    The sender keeps the pending request's `due` and `nonce` here.
    """

    def __init__(
        self,
        on_answer: Callable[["Connection", int, bytes], None],
        on_end: Callable[["Connection"], None],
    ) -> None:
        self.due = 0
        self.nonce = b""
        self.busy = False
        self._on_answer = on_answer
        self._on_end = on_end
        self._received = bytearray()
        self._needed = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport has the methods, but is no subclass.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_end(self)

    def send(self, request: bytes) -> None:
        self.busy = True
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Close the connection, also during a request."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._needed:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._needed = end + 4 + length_of(received[:end])
        if len(received) < self._needed:
            return
        if len(received) > self._needed or not self.busy:
            raise RuntimeError(f"a response without a request: {bytes(received[:200])!r}")
        answer = bytes(received)
        received.clear()
        self._needed = 0
        self.busy = False
        self._on_answer(self, int(answer[9:12]), answer)


def length_of(head: bytes | bytearray) -> int:
    """The value of Content-Length. Raises RuntimeError if it is missing."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"an answer without Content-Length: {bytes(head[:200])!r}")
