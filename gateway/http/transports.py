"""The transports of model connections: a socket in the reactor, or TLS on Trio.

A transport moves bytes and reports when they have moved; the connection knows what they mean. An
error of a connection is logged and closes its own transport alone.
"""

import logging
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

import trio

from gateway.http.model_connection import ModelConnection
from gateway.http.send_buffers import SendBufferLimit
from gateway.http.tls import Stream, shake_hands
from workers import READABLE, WRITABLE, Reactor

logger = logging.getLogger(__name__)

# Reading into a buffer larger than needed costs time; a client that fills this gets a larger one.
# It is not so large that a body in the smallest chunks would stall the reactor for more than 4 ms.
_READ = 4 * 1024
_READ_MORE = 32 * 1024
# One write: to a client on this machine the system sends 30 MB in one call, in 20 ms.
_SEND = 256 * 1024
_SLICE = 256 * 1024
_GONE = select.EPOLLHUP | select.EPOLLERR
_RESET = struct.pack("ii", 1, 0)
_HALF_CLOSED = select.EPOLLRDHUP


class TransportOwner(Protocol):
    """Gets exactly one of these calls for each transport, once. `send_buffers` bounds all."""

    send_buffers: SendBufferLimit

    def transport_closed(self, transport: "SocketTransport | TlsTransport") -> None: ...
    def transport_detached(
        self, transport: "SocketTransport | TlsTransport", client: Stream, first: bytes
    ) -> None: ...


class SocketTransport:
    """A client's socket, registered with the reactor while the transport is open. `share` is what
    the connection is counted as."""

    __slots__ = (
        "_ended",
        "_fd",
        "_interest",
        "_owner",
        "_paused",
        "_reactor",
        "_receive",
        "_send",
        "_size",
        "_socket",
        "_unsent",
        "address",
        "connection",
        "share",
    )

    connection: ModelConnection

    def __init__(
        self,
        client: socket.socket,
        address: str,
        share: str,
        reactor: Reactor,
        owner: TransportOwner,
    ) -> None:
        self.address = address
        self.share = share
        self._socket = client
        self._fd = client.fileno()
        self._receive, self._send = client.recv, client.send
        self._reactor = reactor
        self._owner = owner
        self._size = _READ
        self._unsent: list[memoryview] = []
        self._paused = self._ended = False
        self._interest = READABLE
        reactor.register(self._fd, READABLE, self._on_ready)

    # Commands of the connection.

    def write(self, data: bytes | bytearray) -> bool:
        if self._unsent:
            self._buffer(data, 0)
            return False
        try:
            sent = self._send(data if len(data) <= _SEND else memoryview(data)[:_SEND])
        except BlockingIOError:
            sent = 0
        except OSError:
            return True  # the client is gone, as the reactor will report
        if sent == len(data):
            return True
        self._buffer(data, sent)
        self._watch()
        return False

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._watch()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._watch()

    def end(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._reactor.unregister(self._fd)
        if self._unsent:
            # Otherwise the kernel would keep the unsent data and the connection.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._unsent.clear()
            self._owner.send_buffers.release(self)
        self._socket.close()
        self._owner.transport_closed(self)

    def detach(self, first: bytes) -> None:
        self._reactor.unregister(self._fd)
        client = trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))
        self._owner.transport_detached(self, client, first)

    def _buffer(self, data: bytes | bytearray, sent: int) -> None:
        """Keeps what is not sent yet. All of `data` stays in memory until its end is sent."""
        self._unsent.append(memoryview(data)[sent:])
        self._owner.send_buffers.charge(self, len(data))

    # Events of the reactor.

    def _on_ready(self, events: int) -> None:
        try:
            if events & READABLE and not self._paused:
                try:
                    data = self._receive(self._size)
                except BlockingIOError:
                    return
                except OSError:
                    self.connection.close()  # the client is gone
                    return
                if data:
                    self._size = _READ if len(data) < _READ else _READ_MORE
                    self.connection.received(data)
                else:
                    self._end_of_input()
            elif events & _GONE:
                self.connection.close()
            elif events & WRITABLE:
                self._write_rest()
            elif events & _HALF_CLOSED:
                self._end_of_input()
        except Exception:
            logger.exception("connection.failed connection=%r", self.connection)
            self.connection.close()

    def _end_of_input(self) -> None:
        self._ended = True
        self._watch()  # or the reactor would report it again and again
        self.connection.ended()

    def _write_rest(self) -> None:
        first = self._unsent[0]
        try:
            rest = first[self._send(first[:_SEND]) :]
        except BlockingIOError:
            return
        except OSError:
            self.connection.close()
            return
        if rest:
            self._unsent[0] = rest
            return
        del self._unsent[0]
        if not self._unsent:
            self._owner.send_buffers.release(self)
            self._watch()
            self.connection.sent()

    def _watch(self) -> None:
        interest = _HALF_CLOSED if self._paused else READABLE
        if self._ended:
            interest = 0  # EPOLLHUP and EPOLLERR are reported in any case
        if self._unsent:
            interest |= WRITABLE
        if interest != self._interest:
            self._interest = interest
            self._reactor.modify(self._fd, interest)


class TlsTransport:
    """A client behind TLS. A task runs `run`, which moves its bytes."""

    connection: ModelConnection

    def __init__(
        self,
        stream: trio.SSLStream[trio.SocketStream],
        address: str,
        share: str,
        owner: TransportOwner,
    ) -> None:
        self.address = address
        self.share = share
        self._stream = stream
        self._owner = owner
        self._life = trio.CancelScope()
        self._unsent: list[bytes | bytearray] = []
        self._ending = False
        self._send_requested = trio.Event()
        self._may_read = trio.Event()
        self._may_read.set()
        self._first: bytes | None = None

    async def run(self, handshake_seconds: float) -> None:
        """Serves the connection until it is closed or detached."""
        try:
            with self._life:
                await shake_hands(self._stream, handshake_seconds)
                async with trio.open_nursery() as tasks:
                    tasks.start_soon(self._send_all)
                    tasks.start_soon(self._receive_all)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # the client disconnected, or does not speak TLS
        except* Exception:
            logger.exception("connection.failed connection=%r", self.connection)
        finally:
            if self._first is not None:
                self._owner.transport_detached(self, self._stream, self._first)
            else:
                self.connection.close()
                self._owner.transport_closed(self)
                await trio.aclose_forcefully(self._stream)

    # Commands of the connection.

    def write(self, data: bytes | bytearray) -> bool:
        self._unsent.append(data)
        self._owner.send_buffers.charge(self, len(data))
        self._send_requested.set()
        return False

    def pause_reading(self) -> None:
        self._may_read = trio.Event()

    def resume_reading(self) -> None:
        self._may_read.set()

    def end(self) -> None:
        self._ending = True
        self._send_requested.set()

    def close(self) -> None:
        self._owner.send_buffers.release(self)
        self._life.cancel()

    def detach(self, first: bytes) -> None:
        self._first = first
        # Nothing is being sent now, and a cancelled receive loses no bytes.
        self._life.cancel()

    # The two directions.

    async def _receive_all(self) -> None:
        while True:
            await self._may_read.wait()
            data = await self._stream.receive_some(_READ_MORE)
            if not data:
                self.connection.ended()
                await trio.sleep_forever()  # until the connection closes
            self.connection.received(bytes(data))

    async def _send_all(self) -> None:
        while True:
            await self._send_requested.wait()
            self._send_requested = trio.Event()
            if self._unsent:
                pieces, self._unsent = self._unsent, []
                for piece in _slices(pieces):
                    await self._stream.send_all(piece)
                if not self._unsent:
                    self._owner.send_buffers.release(self)
                    self.connection.sent()
            elif self._ending:
                # Responses have lengths, so TLS need not be closed explicitly.
                await self._stream.transport_stream.send_eof()


def _slices(pieces: list[bytes | bytearray]) -> Iterator[bytes | bytearray | memoryview]:
    """Small pieces joined, large ones in slices without a copy: each is encrypted in one call."""
    if sum(map(len, pieces)) <= _SLICE:
        yield b"".join(pieces)
        return
    for piece in pieces:
        whole = memoryview(piece)
        for at in range(0, len(piece), _SLICE):
            yield whole[at : at + _SLICE]
