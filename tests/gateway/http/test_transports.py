"""The transport of a client's socket: written bytes arrive whole and in order."""

import socket
from typing import cast

from gateway.http.model_connection import ModelConnection
from gateway.http.send_buffers import SendBufferLimit
from gateway.http.transports import SocketTransport, TransportOwner
from workers import Reactor


class Connection:
    """Counts how often everything was sent."""

    def __init__(self) -> None:
        self.flow = ""
        self.times_sent = 0

    def sent(self) -> None:
        self.times_sent += 1


class Owner:
    """Ignores that the transport is closed."""

    def __init__(self) -> None:
        self.send_buffers = SendBufferLimit(10**9)

    def transport_closed(self, transport: object) -> None: ...


def test_pieces_are_sent_whole_and_in_order() -> None:
    """Each byte of pieces larger than a socket's buffer arrives once; `sent` is called once."""
    reactor = Reactor(lambda: 0.0, others_are_ready=lambda: True)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    owner = Owner()
    transport = SocketTransport(ours, "", "", reactor, cast(TransportOwner, owner))
    connection = Connection()
    transport.connection = cast(ModelConnection, connection)
    large = bytearray(b"body" * 500_000)
    pieces: list[bytes | bytearray] = [b"head" * 5, large, b"tail", b"next" * 100_000]
    assert [transport.write(piece) for piece in pieces] == [True, False, False, False]
    assert owner.send_buffers.unsent == sum(map(len, pieces[1:]))
    expected, received = b"".join(pieces), bytearray()
    while len(received) < len(expected):
        received += theirs.recv(1 << 20)
        reactor._serve()
    assert received == expected
    assert connection.times_sent == 1
    assert owner.send_buffers.unsent == 0
    assert transport.write(b"again")
    transport.close()
    theirs.close()
    reactor.close()
