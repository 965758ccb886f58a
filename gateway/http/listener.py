"""The listener: accepts every connection, and serves calls of models by itself.

The listening sockets and the connections live in the reactor, so a call costs no task. A request
that is no call goes with its connection to the other server (Quart on Hypercorn). The laws:

- Connections are bounded, and shared by networks and local users (fair_shares.py,
  client_network.py). One too many gets an error and is closed.
- `ConnectionStats.connections` is the number of open connections, however connections end.
- After `stop` no client is accepted, and a client that connects is told so at once. A request that
  has begun, or is on its way, is answered.
"""

import errno
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from gateway.client_network import LOOPBACK, network_of
from gateway.errors import Refusal
from gateway.http.context import HttpContext
from gateway.http.model_connection import ModelConnection
from gateway.http.peer_user import PeerUsers
from gateway.http.proxies import plain
from gateway.http.tls import Stream, tls_stream
from gateway.http.transports import SocketTransport, TlsTransport
from gateway.predictions.call import refusal_response
from workers import READABLE, Reactor

logger = logging.getLogger(__name__)

# Connections accepted in one turn of the reactor, so that open connections have their turn.
_AT_ONCE = 16
# Connections from this machine before they are counted by user.
LOCAL_CONNECTIONS = 64
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# Serves a connection to its end; the bytes have been read from it already.
Fallback = Callable[[Stream, bytes], Coroutine[Any, Any, None]]


class Listener:
    """`open` it, `stop` it, `close` what is left. For the reactor's thread.

    `tasks` run the connections that were detached or have TLS. Beyond `local_connections`, clients
    of this machine are counted by user.
    """

    def __init__(
        self,
        context: HttpContext,
        *,
        reactor: Reactor,
        tasks: trio.Nursery,
        fallback: Fallback,
        tls: ssl.SSLContext | None = None,
        users: PeerUsers | None = None,
        local_connections: int = LOCAL_CONNECTIONS,
    ) -> None:
        self.send_buffers = context.send_buffers
        self._context = context
        self._reactor = reactor
        self._tasks = tasks
        self._fallback = fallback
        self._tls = tls
        self._users = users or PeerUsers()
        self._local_connections = local_connections
        # The sockets that are watched, and all of them, also while accepting is paused.
        self._listeners: Sequence[socket.socket] = ()
        self._all_listeners: Sequence[socket.socket] = ()
        self._stopped = False
        self._transports: set[SocketTransport | TlsTransport] = set()
        self._no_transports = trio.Event()

    def use_tls(self, tls: ssl.SSLContext | None) -> None:
        """Applies to connections from now on."""
        self._tls = tls

    def open(self, listeners: Sequence[socket.socket]) -> None:
        """Accepts clients. Raises OSError."""
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

    def stop(self, inherited: socket.socket | None = None) -> None:
        """Accepts no more clients; a request that has begun is the last one of its connection.

        The sockets are closed, so the kernel refuses new clients. A client that had connected and
        was not accepted yet gets an error. The `inherited` socket stays open: its clients wait for
        the next gateway.
        """
        listeners = () if self._stopped else self._all_listeners
        self._stopped = True
        self._close_listening()
        for each in listeners:
            if each is not inherited:
                self._reject_all(each)
                each.close()
        for transport in list(self._transports):
            transport.connection.stop()
        self._check_drained()

    async def wait_answered(self) -> None:
        """Returns when, after `stop`, all requests that came to this listener are answered."""
        await self._no_transports.wait()

    def close(self) -> None:
        """Ends the connections that were not detached, in any state."""
        self._users.close()
        for transport in list(self._transports):
            transport.connection.close()

    # Accepting.

    def _accept(self, listener: socket.socket, events: int) -> None:
        for _ in range(_AT_ONCE):
            if not self._listeners:
                return
            try:
                client, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # usually the client has disconnected already
                if error.errno in _EXHAUSTED:
                    logger.warning(
                        "accepting.paused seconds=%s: %s",
                        self._context.timeouts.accept_pause,
                        error.strerror,
                    )
                    self._pause_accepting()
                continue
            client.setblocking(False)
            self._context.stats.accepted += 1
            self._admit(client, plain(address[0]))

    def _reject_all(self, listener: socket.socket) -> None:
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
        self._reopen_later(listeners)

    def _reopen_later(self, listeners: Sequence[socket.socket]) -> None:
        due = self._context.now() + self._context.timeouts.accept_pause
        self._reactor.call_at(due, lambda: self._reopen(listeners))

    def _reopen(self, listeners: Sequence[socket.socket]) -> None:
        if self._stopped:
            return
        try:
            self.open(listeners)
        except OSError:  # the kernel has no memory to watch them
            self._reopen_later(listeners)

    def _admit(self, client: socket.socket, address: str) -> None:
        context = self._context
        share, most = self._share_of(client, address), context.limits.connections_per_address
        shares = context.connection_shares
        if shares.taken(share) >= most or not shares.take(share, 1):
            self._reject(client)
            return
        context.stats.connections += 1
        with suppress(OSError):  # the client is gone, as the first read will report
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            try:
                transport = SocketTransport(client, address, share, self._reactor, self)
            except OSError as error:  # the kernel has no memory to watch one more
                logger.warning("connection.dropped address=%s: %s", address, error.strerror)
                client.close()
                self._release(share)
            else:
                self._connect(transport)
        else:
            secured = TlsTransport(tls_stream(client, self._tls), address, share, self)
            self._connect(secured)
            self._tasks.start_soon(secured.run, context.timeouts.handshake)

    def _share_of(self, client: socket.socket, address: str) -> str:
        """What the connection is counted as. A proxy has a share of its own. So have users of this
        machine, beyond a number of connections below which looking them up is not worth it."""
        context = self._context
        if context.proxies.trusts(address):
            return f"proxy {address}"
        share = network_of(address)
        if share == LOOPBACK and context.connection_shares.taken(share) >= self._local_connections:
            user = self._users.user_of(client)
            share = LOOPBACK if user is None else f"user {user}"
        return share

    def _reject(self, client: socket.socket, reason: str = "too many connections") -> None:
        context = self._context
        context.stats.rejected += 1
        if self._tls is not None:  # a response would cost a handshake
            client.close()
            return
        refused = Refusal("gateway.overloaded", reason)
        request_id = context.responses.new_id()
        response = refusal_response(refused, request_id)
        data = context.responses.render(response, request_id, context.now(), connection="close")
        with client, suppress(OSError):
            client.send(b"".join(data))

    def _connect(self, transport: SocketTransport | TlsTransport) -> None:
        transport.connection = ModelConnection(self._context, transport, transport.address)
        self._transports.add(transport)
        if self._stopped:
            transport.connection.stop()

    # As the owner of transports.

    def transport_closed(self, transport: SocketTransport | TlsTransport) -> None:
        self._forget(transport)
        self._release(transport.share)

    def transport_detached(
        self, transport: SocketTransport | TlsTransport, client: Stream, first: bytes
    ) -> None:
        """The other server serves the client from now on; the connection still counts."""
        self._forget(transport)
        self._tasks.start_soon(partial(self._serve_by_fallback, client, first, transport.share))

    async def _serve_by_fallback(self, client: Stream, first: bytes, share: str) -> None:
        try:
            await self._fallback(client, first)
        finally:
            self._release(share)

    def _forget(self, transport: SocketTransport | TlsTransport) -> None:
        self._transports.discard(transport)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._stopped and not self._transports:
            self._no_transports.set()

    def _release(self, share: str) -> None:
        self._context.stats.connections -= 1
        self._context.connection_shares.give(share, 1)
