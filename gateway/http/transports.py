"""The lines under model connections: a socket in the reactor, or TLS on Trio.

A line moves bytes and says when they have moved; what they mean is the connection's. Whatever a
connection does wrong costs its own client alone: it is logged and the line is closed.
"""

import logging
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

import trio

from gateway.http.model_connection import HEAD_SECONDS, ModelConnection
from gateway.http.send_buffers import SendBufferLimit
from workers import READABLE, WRITABLE, Reactor

logger = logging.getLogger(__name__)

# Reading into more than is needed costs time; who fills this gets more of it at once. Yet not so
# much that a body in the smallest of chunks would hold the reactor for more than 4 ms.
_READ = 4 * 1024
_READ_ON = 32 * 1024
# Of an answer at once: to a client on this machine the system sends 30 MB in one call, in 20 ms.
_SEND = 256 * 1024
_SLICE = 256 * 1024
_GONE = select.EPOLLHUP | select.EPOLLERR
_RESET = struct.pack("ii", 1, 0)
_SENDS_NO_MORE = select.EPOLLRDHUP


class TransportOwner(Protocol):
    """Who is told that a line is over, by exactly one of these, once; and the memory of all."""

    untaken: SendBufferLimit

    def transport_closed(self, line: "SocketTransport | TlsTransport") -> None: ...
    def transport_detached(
        self,
        line: "SocketTransport | TlsTransport",
        client: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        first: bytes,
    ) -> None: ...


class SocketTransport:
    """A client's socket, registered with the reactor for as long as the line is open. `share` is
    what its place is counted as."""

    __slots__ = (
        "_ended",
        "_fd",
        "_held",
        "_interest",
        "_owner",
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
        self._held = self._ended = False
        self._interest = READABLE
        reactor.register(self._fd, READABLE, self._on_ready)

    # What the connection asks for.

    def write(self, data: bytes | bytearray) -> bool:
        if self._unsent:
            self._await(data, 0)
            return False
        try:
            sent = self._send(data if len(data) <= _SEND else memoryview(data)[:_SEND])
        except BlockingIOError:
            sent = 0
        except OSError:
            return True  # the client is gone, which the reactor will tell
        if sent == len(data):
            return True
        self._await(data, sent)
        self._watch()
        return False

    def pause_reading(self) -> None:
        if not self._held:
            self._held = True
            self._watch()

    def resume_reading(self) -> None:
        if self._held:
            self._held = False
            self._watch()

    def end(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._reactor.unregister(self._fd)
        if self._unsent:
            # Or the system would keep what the client does not take, and its connection.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._unsent.clear()
            self._owner.untaken.release(self)
        self._socket.close()
        self._owner.transport_closed(self)

    def detach(self, first: bytes) -> None:
        self._reactor.unregister(self._fd)
        client = trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))
        self._owner.transport_detached(self, client, first)

    def _await(self, data: bytes | bytearray, sent: int) -> None:
        """Keeps what is not sent yet; of `data`, all stays in memory until its end is sent."""
        self._unsent.append(memoryview(data)[sent:])
        self._owner.untaken.charge(self, len(data))

    # What the reactor tells.

    def _on_ready(self, events: int) -> None:
        try:
            if events & READABLE and not self._held:
                try:
                    data = self._receive(self._size)
                except BlockingIOError:
                    return
                except OSError:
                    self.connection.close()  # the client is gone
                    return
                if data:
                    self._size = _READ if len(data) < _READ else _READ_ON
                    self.connection.received(data)
                else:
                    self._end_of_input()
            elif events & _GONE:
                self.connection.close()
            elif events & WRITABLE:
                self._write_rest()
            elif events & _SENDS_NO_MORE:
                self._end_of_input()
        except Exception:
            logger.exception("a connection failed: %s", self.connection)
            self.connection.close()

    def _end_of_input(self) -> None:
        self._ended = True
        self._watch()  # or the reactor would tell it again and again
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
            self._owner.untaken.release(self)
            self._watch()
            self.connection.sent()

    def _watch(self) -> None:
        interest = _SENDS_NO_MORE if self._held else READABLE
        if self._ended:
            interest = 0  # that it is gone for certain is told without asking
        if self._unsent:
            interest |= WRITABLE
        if interest != self._interest:
            self._interest = interest
            self._reactor.modify(self._fd, interest)


class TlsTransport:
    """A client behind TLS. `run` carries its bytes, in a task; the connection is the same."""

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
        self._news = trio.Event()  # for the sender
        self._may_read = trio.Event()
        self._may_read.set()
        self._first: bytes | None = None

    async def run(self) -> None:
        """Serves the connection until it is closed or leaves."""
        try:
            with self._life:
                with trio.fail_after(HEAD_SECONDS):
                    await self._stream.do_handshake()
                async with trio.open_nursery() as tasks:
                    tasks.start_soon(self._send_all)
                    tasks.start_soon(self._receive_all)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # gone without a good-bye, or no TLS at all
        except* Exception:
            logger.exception("a connection failed: %s", self.connection)
        finally:
            if self._first is not None:
                self._owner.transport_detached(self, self._stream, self._first)
            else:
                self.connection.close()
                self._owner.transport_closed(self)
                await trio.aclose_forcefully(self._stream)

    # What the connection asks for.

    def write(self, data: bytes | bytearray) -> bool:
        self._unsent.append(data)
        self._owner.untaken.charge(self, len(data))
        self._news.set()
        return False

    def pause_reading(self) -> None:
        self._may_read = trio.Event()

    def resume_reading(self) -> None:
        self._may_read.set()

    def end(self) -> None:
        self._ending = True
        self._news.set()

    def close(self) -> None:
        self._owner.untaken.release(self)
        self._life.cancel()

    def detach(self, first: bytes) -> None:
        self._first = first
        # Nothing is being sent now, and a receive that is cancelled takes nothing with it.
        self._life.cancel()

    # The two directions.

    async def _receive_all(self) -> None:
        while True:
            await self._may_read.wait()
            data = await self._stream.receive_some(_READ_ON)
            if not data:
                self.connection.ended()
                await trio.sleep_forever()  # until the connection closes
            self.connection.received(bytes(data))

    async def _send_all(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            if self._unsent:
                pieces, self._unsent = self._unsent, []
                for piece in _slices(pieces):
                    await self._stream.send_all(piece)
                if not self._unsent:
                    self._owner.untaken.release(self)
                    self.connection.sent()
            elif self._ending:
                # Lengths tell where answers end, so the end of TLS need not be said.
                await self._stream.transport_stream.send_eof()


def _slices(pieces: list[bytes | bytearray]) -> Iterator[bytes | bytearray | memoryview]:
    """What is encrypted in one go each: small pieces as one, large ones in slices, uncopied."""
    if sum(map(len, pieces)) <= _SLICE:
        yield b"".join(pieces)
        return
    for piece in pieces:
        whole = memoryview(piece)
        for at in range(0, len(piece), _SLICE):
            yield whole[at : at + _SLICE]
