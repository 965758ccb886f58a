"""The front door: accepts every connection, and answers the calls of models by itself.

The listeners and the connections live in the reactor, so a call costs no task. What a connection
asks for that is no call, at first or later, goes with the connection to the other server (Quart
on Hypercorn), and not a byte is lost on the way. The laws:

- Connections are bounded, and shared by networks and local users (fair_shares.py,
  client_network.py); one too many gets an error and is closed.
- However a connection ends, it is forgotten here: `ConnectionStats.connections` is what there is.
- After `stop` no client is let in, and it is told so at once; what has begun, or is on its way, is
  answered.
"""

import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import trio

from gateway.client_network import LOOPBACK, network_of
from gateway.errors import Refusal
from gateway.http.access_log import AccessLog
from gateway.http.fair_shares import FairShares
from gateway.http.head_cache import HeadCache
from gateway.http.model_connection import ModelConnection
from gateway.http.peer_user import PeerUsers
from gateway.http.proxies import Proxies, plain
from gateway.http.responses import ResponseRenderer
from gateway.http.send_buffers import SendBufferLimit
from gateway.http.transports import SocketTransport, TlsTransport
from gateway.predictions.call import refusal_response
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import OffloadedParser
from workers import READABLE, Reactor

logger = logging.getLogger(__name__)

# Connections accepted in one turn of the reactor, so that those there are have theirs.
_AT_ONCE = 16
# Out of descriptors or memory: for how long nobody is let in.
_PAUSE = 0.1
# Connections of this machine that are not distinguished by user.
_LOCAL = 64
_NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the door lets in: connections, and bytes of bodies, whole and on their way. As many as
    of bodies may be on their way of answers."""

    max_connections: int
    max_connections_per_address: int
    max_request_size: int
    max_inflight_bytes: int


class ConnectionStats(msgspec.Struct, kw_only=True):
    """The door's own count: `connections` there are, and what came since the start.

    `answers`, by HTTP status, are those that it gave itself.
    """

    connections: int = 0
    accepted: int = 0
    rejected: int = 0
    answers: Counter[int] = msgspec.field(default_factory=Counter)


Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
# Serves a connection to its end; the bytes were read from it already.
Fallback = Callable[[Stream, bytes], Coroutine[Any, Any, None]]


class Listener:
    """`open` it, `stop` it, `close` what is left. For the thread of the reactor.

    `tasks` are those of connections that left for the other server or have TLS.
    """

    def __init__(
        self,
        *,
        reactor: Reactor,
        routes: Endpoints,
        examiner: OffloadedParser,
        bounds: ConnectionLimits,
        traffic: ConnectionStats,
        tasks: trio.Nursery,
        elsewhere: Fallback,
        proxies: Proxies,
        tls: ssl.SSLContext | None = None,
        access_log: AccessLog | None = None,
        untaken: SendBufferLimit | None = None,
        memory: FairShares | None = None,
    ) -> None:
        self.access_log = access_log
        self.proxies = proxies
        self.routes = routes
        self.examiner = examiner
        self.replies = ResponseRenderer()
        # Shared with the other server, as `untaken` is.
        self.memory = memory or FairShares(bounds.max_inflight_bytes)
        self.untaken = untaken or SendBufferLimit(bounds.max_inflight_bytes)
        self.now = reactor.now
        self.alarm = reactor.alarm
        self._reactor = reactor
        self._traffic = traffic
        self.answers = traffic.answers
        self._tasks = tasks
        self._elsewhere = elsewhere
        self._tls = tls
        # Those that are watched, and all, also while the door rests.
        self._listeners: Sequence[socket.socket] = ()
        self._all_listeners: Sequence[socket.socket] = ()
        self._stopped = False
        self._lines: set[SocketTransport | TlsTransport] = set()
        self._no_lines = trio.Event()
        self._places = FairShares(bounds.max_connections)
        self._users = PeerUsers()
        self.bind(bounds)

    def bind(self, bounds: ConnectionLimits) -> None:
        """From now on these bounds; who is there already stays."""
        self._bounds = bounds
        self.max_request_size = bounds.max_request_size
        # Anew, since what it remembers of a head says whether the body may be so large.
        self.openings = HeadCache(bounds.max_request_size)
        self.memory.resize(bounds.max_inflight_bytes)
        self._places.resize(bounds.max_connections)
        self.untaken.resize(bounds.max_inflight_bytes)

    def use_tls(self, tls: ssl.SSLContext | None) -> None:
        """For connections from now on."""
        self._tls = tls

    def open(self, listeners: Sequence[socket.socket]) -> None:
        """Lets clients in. Raises OSError."""
        registered = list[socket.socket]()
        try:
            for each in listeners:
                self._reactor.register(each.fileno(), READABLE, partial(self._accept, each))
                registered.append(each)
        except OSError:
            for each in registered:
                self._reactor.unregister(each.fileno())
            raise
        self._listeners = self._all_listeners = listeners

    def stop(self, kept: socket.socket | None = None) -> None:
        """Lets nobody in any more; a request that has begun is its connection's last one.

        Who connects is refused by the kernel, since the listeners are closed; who had connected and
        was not let in yet is told so. But in the one that is `kept` they wait for the next gateway.
        """
        listeners = () if self._stopped else self._all_listeners
        self._stopped = True
        self._close_listening()
        for each in listeners:
            if each is not kept:
                self._turn_away_all(each)
                each.close()
        for line in list(self._lines):
            line.connection.stop()
        self._note_lines()

    async def wait_answered(self) -> None:
        """Returns when, after `stop`, all is answered that came in by this door."""
        await self._no_lines.wait()

    def close(self) -> None:
        """Ends what connections of its own are left, whatever they do."""
        self._users.close()
        for line in list(self._lines):
            line.connection.close()

    # Letting in.

    def _accept(self, listener: socket.socket, events: int) -> None:
        for _ in range(_AT_ONCE):
            if not self._listeners:
                return
            try:
                client, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # usually: it was gone before it was let in
                if error.errno in _NO_MORE:
                    logger.warning("nobody is let in for a moment: %s", error.strerror)
                    self._pause_accepting()
                continue
            client.setblocking(False)
            self._traffic.accepted += 1
            self._admit(client, plain(address[0]))

    def _turn_away_all(self, listener: socket.socket) -> None:
        with suppress(OSError):  # none is left
            while True:
                client, _ = listener.accept()
                client.setblocking(False)
                self._reject(client, "the gateway is stopping")

    def _close_listening(self) -> None:
        for each in self._listeners:
            self._reactor.unregister(each.fileno())
        self._listeners = ()

    def _pause_accepting(self) -> None:
        listeners = self._listeners
        self._close_listening()
        self._reactor.call_at(self.now() + _PAUSE, lambda: self._reopen(listeners))

    def _reopen(self, listeners: Sequence[socket.socket]) -> None:
        if self._stopped:
            return
        try:
            self.open(listeners)
        except OSError:  # the kernel has no memory to watch them
            self._reactor.call_at(self.now() + _PAUSE, lambda: self._reopen(listeners))

    def _admit(self, client: socket.socket, address: str) -> None:
        share, most = self._share_of(client, address), self._bounds.max_connections_per_address
        if self._places.held(share) >= most or not self._places.take(share, 1):
            self._reject(client)
            return
        self._traffic.connections += 1
        with suppress(OSError):  # it is gone already, as the first read will tell
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            try:
                line = SocketTransport(client, address, share, self._reactor, self)
            except OSError as error:  # the kernel has no memory to watch one more
                logger.warning("a connection is closed: %s", error.strerror)
                client.close()
                self._release(share)
            else:
                self._connect(line)
        else:
            secured = TlsTransport(_tls_stream(client, self._tls), address, share, self)
            self._connect(secured)
            self._tasks.start_soon(secured.run)

    def _share_of(self, client: socket.socket, address: str) -> str:
        """As what this place is counted: a proxy has a share of its own, and so have users of this
        machine beyond a few places, for which it is not worth asking who they are."""
        if self.proxies.trusts(address):
            return f"proxy {address}"
        share = network_of(address)
        if share == LOOPBACK and self._places.held(share) >= _LOCAL:
            user = self._users.user_of(client)
            share = LOOPBACK if user is None else f"user {user}"
        return share

    def _reject(self, client: socket.socket, why: str = "there are too many connections") -> None:
        self._traffic.rejected += 1
        if self._tls is not None:  # a handshake is what it would cost to say why
            client.close()
            return
        refused = Refusal("gateway.overloaded", why)
        request_id = self.replies.new_id()
        reply = refusal_response(refused, request_id)
        data = self.replies.render(reply, request_id, self.now(), connection="close")
        with client, suppress(OSError):
            client.send(b"".join(data))

    def _connect(self, line: SocketTransport | TlsTransport) -> None:
        line.connection = ModelConnection(self, line, line.address)
        self._lines.add(line)
        if self._stopped:
            line.connection.stop()

    # What lines and connections tell.

    def transport_closed(self, line: SocketTransport | TlsTransport) -> None:
        self._forget(line)
        self._release(line.share)

    def transport_detached(
        self, line: SocketTransport | TlsTransport, client: Stream, first: bytes
    ) -> None:
        """Its client is somebody else's now, yet one of those that are counted."""
        self._forget(line)
        self._tasks.start_soon(partial(self._serve_by_fallback, client, first, line.share))

    async def _serve_by_fallback(self, client: Stream, first: bytes, share: str) -> None:
        try:
            await self._elsewhere(client, first)
        finally:
            self._release(share)

    def _forget(self, line: SocketTransport | TlsTransport) -> None:
        self._lines.discard(line)
        self._note_lines()

    def _note_lines(self) -> None:
        if self._stopped and not self._lines:
            self._no_lines.set()

    def _release(self, share: str) -> None:
        self._traffic.connections -= 1
        self._places.give(share, 1)


def _tls_stream(
    client: socket.socket, context: ssl.SSLContext
) -> trio.SSLStream[trio.SocketStream]:
    """The server's side of it, before the handshake."""
    return trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(client)),
        context,
        server_side=True,
        https_compatible=True,
    )
