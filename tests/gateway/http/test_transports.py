"""A client's socket: what is written arrives whole and in order, however slowly it is taken."""

import socket
from typing import cast

from gateway.http.model_connection import ModelConnection
from gateway.http.send_buffers import SendBufferLimit
from gateway.http.transports import SocketTransport, TransportOwner
from workers import Reactor


class Listener:
    """A connection that counts how often everything was out."""

    def __init__(self) -> None:
        self.flow = ""
        self.times_out = 0

    def sent(self) -> None:
        self.times_out += 1


class Owner:
    """Ignores that the transport is closed."""

    def __init__(self) -> None:
        self.untaken = SendBufferLimit(10**9)

    def transport_closed(self, transport: object) -> None: ...


def test_pieces_go_out_whole_and_in_order() -> None:
    """Of several pieces, far larger than a socket takes, each byte arrives once, and that all is
    out is told once."""
    reactor = Reactor(lambda: 0.0, others_are_ready=lambda: True)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    owner = Owner()
    line = SocketTransport(ours, "", "", reactor, cast(TransportOwner, owner))
    listener = Listener()
    line.connection = cast(ModelConnection, listener)
    large = bytearray(b"body" * 500_000)
    pieces: list[bytes | bytearray] = [b"head" * 5, large, b"tail", b"next" * 100_000]
    assert [line.write(piece) for piece in pieces] == [True, False, False, False]
    assert owner.untaken.held == sum(map(len, pieces[1:]))
    expected, received = b"".join(pieces), bytearray()
    while len(received) < len(expected):
        received += theirs.recv(1 << 20)
        reactor._serve()
    assert received == expected
    assert listener.times_out == 1
    assert owner.untaken.held == 0
    assert line.write(b"again")
    line.close()
    theirs.close()
    reactor.close()
