"""One connection that Hypercorn's HTTP/1.1 protocol serves, isolated from all others.

Only the protocol class of Hypercorn is used, by names that are not its public API: hence its exact
version in pyproject.toml. The request filter stands before it (request_filter.py), and this guard
around it: an error ends only its own connection, a send has a deadline, and a close loses no
response (gotchas G1 to G4 in README).
"""

import logging
import re
import socket
import struct
from contextlib import suppress
from typing import NamedTuple

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from gateway.client_network import network_of
from gateway.errors import API_PREFIX, Refusal, admin_body, refusal
from gateway.http.body import ForwardedBody
from gateway.http.context import HttpContext
from gateway.http.hypercorn.request_filter import Disconnected, RequestFilter
from gateway.http.hypercorn.send_deadlines import SendDeadlines
from gateway.http.proxies import plain
from gateway.http.request_head import ProtocolError, RequestHead
from gateway.http.tls import Stream
from gateway.predictions.call import CallResponse, is_call, refusal_response

logger = logging.getLogger(__name__)

Address = tuple[str, int] | None

_CHUNK = 64 * 1024
# How much the application keeps of a body that is not of a call: JSON is no larger
# (admin/json_body.py), and an upload is read no faster than it is written (admin/uploads.py).
_KEPT = 512 * 1024
# In the head of a response.
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"\r\nx-request-id: ([0-9a-f-]+)\r\n", re.IGNORECASE)
# SO_LINGER of 0 s: the close drops what has not been sent.
_RESET = struct.pack("ii", 1, 0)
# How much of a response may wait in the kernel. By default it is 4 MB for each slow client.
_UNSENT = 128 * 1024
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class ServerContext(NamedTuple):
    """What Hypercorn's connections share."""

    app: AppWrapper
    config: Config
    worker: WorkerContext
    sends: SendDeadlines
    http: HttpContext


class HypercornConnection:
    """One connection until its close. `first` are bytes that were read from `stream` already."""

    def __init__(self, server: ServerContext, stream: Stream, first: bytes) -> None:
        self.filter = RequestFilter(stream, first, server.http.timeouts)
        self._hypercorn = server
        self._context = server.http
        self._stream = stream
        self._transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        with suppress(OSError):  # the client is gone, as the first read will report
            option = socket.TCP_NOTSENT_LOWAT
            self._transport.socket.setsockopt(socket.IPPROTO_TCP, option, _UNSENT)
        self._peer, self._server = self._addresses()
        # The client of the request that began last: a proxy sends requests of many clients.
        self._client = self._peer
        self._proxied = self._peer is not None and server.http.proxies.trusts(self._peer[0])
        # What the connection counts as in `send_buffers`.
        self.flow = network_of(self._peer[0]) if self._peer else ""
        self._life = trio.CancelScope()
        self._sending = trio.Lock()
        self._responding = False
        self._response_head = b""  # of the response that began last
        # Whether the rest of the application's output is dropped.
        self._muted = False
        # Of the request that is answered now: its body, and whether its whole response is charged.
        self._body: ForwardedBody | None = None
        self._response_charged = False

    async def run(self) -> None:
        """Serves until the client, an error or the gateway ends it, then closes the stream."""
        try:
            await self._guard()
            if self.filter.busy or self._responding:
                self._log()
            await self._close_gracefully()
        finally:
            self._release()
            await trio.aclose_forcefully(self._transport)

    def charge_response(self, size: int) -> None:
        """The application keeps `size` bytes of its response until all of it is sent."""
        self._release_response()
        self._response_charged = True
        self._context.send_buffers.charge(self, size)

    def _release(self) -> None:
        """Frees the memory of the request and its response."""
        self._release_response()
        if self._body is not None:
            self._body.release()
            self._body = None

    def _release_response(self) -> None:
        if self._response_charged:
            self._response_charged = False
            self._context.send_buffers.release(self)

    def cut(self) -> None:
        """Ends it at once. Nothing is sent after the return, not even what waits in the kernel. The
        client sees a reset, not a response that looks complete."""
        self._muted = True
        self._life.cancel()
        with suppress(OSError):  # it is closed already
            self._transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.socket.close()

    async def _guard(self) -> None:
        try:
            with self._life:
                await self._serve()
        except* Exception:
            # gotcha G1: an error costs its own connection.
            logger.info("connection.failed", exc_info=True)

    async def _serve(self) -> None:
        async with TaskGroup() as tasks:
            protocol = H11Protocol(
                self._hypercorn.app,
                self._hypercorn.config,
                self._hypercorn.worker,
                tasks,
                ConnectionState(LifespanState(cut=self.cut, charge_response=self.charge_response)),
                isinstance(self._stream, trio.SSLStream),
                self._client,
                self._server,
                self._on_event,
            )
            tasks.spawn(self.filter.read_ahead)

            def begin(head: RequestHead) -> None:
                # Hypercorn passes these to the application with the next request.
                self._client, protocol.ssl = self._source(head)
                protocol.client = self._client
                self._begin_body(head)

            async def forward(data: bytes) -> None:
                # The memory of an announced body has been taken by its head.
                if self._body is not None and self.filter.forwards_body:
                    self._body.grow(len(data))
                await protocol.handle(RawData(data))

            try:
                await self.filter.forward(forward, begin)
            except Disconnected:
                self._muted = True
            except (ProtocolError, Refusal) as malformed:
                self._muted = True
                if self.filter.current is None:
                    self._client = self._peer  # the error belongs to no request
                if not self._responding:
                    self._responding, self._response_head = True, self._error_response(malformed)
                    await self._send(self._response_head)
            self._life.cancel()

    def _begin_body(self, head: RequestHead) -> None:
        """Takes memory for the body before any of it is read. Raises Refusal."""
        if head.length or head.chunked:
            flow = network_of(self._client[0]) if self._client else ""
            called = is_call(head.method, head.path)
            limit = self._context.limits.request_bytes if called else _KEPT
            self._body = ForwardedBody(self._context.request_memory, flow, head.length, limit)

    def _source(self, head: RequestHead) -> tuple[Address, bool]:
        """The client of this request, and whether it reached the gateway, or a proxy, over TLS."""
        own = isinstance(self._stream, trio.SSLStream)
        if not self._proxied or self._peer is None:
            return self._peer, own or self._context.proxies.is_public(head.headers)
        source = self._context.proxies.source(head.headers)
        # Ports in the headers of a proxy are not read.
        return (source.address, 0) if source.address else self._peer, own or source.secure

    def _error_response(self, malformed: ProtocolError | Refusal) -> bytes:
        """The response to a request that is not forwarded, or not as a whole."""
        refused, request_id = refusal(malformed), self._context.responses.new_id()
        response = refusal_response(refused, request_id)
        if self.filter.current is not None and self.filter.current.path.startswith(API_PREFIX):
            response = CallResponse(response.status, admin_body(refused))
        now = trio.current_time()
        pieces = self._context.responses.render(response, request_id, now, connection="close")
        return b"".join(pieces)

    def _addresses(self) -> tuple[Address, Address]:
        """The addresses of the client and of our side. The client may be gone already."""
        ours = self._transport.socket
        try:
            client = parse_socket_addr(ours.family, ours.getpeername())
            client = client and (plain(client[0]), client[1])
        except OSError:
            client = None
        return client, parse_socket_addr(ours.family, ours.getsockname())

    async def _on_event(self, event: Event) -> None:
        """Handles an event of Hypercorn."""
        if isinstance(event, RawData):
            if not self._muted:
                # `100 Continue` is not the response.
                if not self._responding and not event.data.startswith(b"HTTP/1.1 1"):
                    self._responding, self._response_head = True, event.data
                await self._send(event.data)
        elif isinstance(event, Closed):
            # gotcha G3: the filter may wait for an application that has ended.
            self._life.cancel()
        elif isinstance(event, Updated) and event.idle:
            # gotcha G3: no await here, because the application's end must not come between.
            self._log()
            self._release()
            self._responding, self._response_head = False, b""
            self.filter.answered()

    def _log(self) -> None:
        """Logs the request and its response, which may be incomplete."""
        if self._context.access_log is None:
            return
        head, response = self.filter.current, self._response_head
        length, request_id = _LENGTH.search(response), _REQUEST_ID.search(response)
        size = int(length[1]) if length else -1
        self._context.access_log.add(
            self._client[0] if self._client else "-",
            head,
            int(response[9:12] or b"0"),
            0 if head and head.method == "HEAD" else size,
            trio.current_time() - self.filter.began if head else 0.0,
            request_id[1].decode() if request_id else "",
        )

    async def _send(self, data: bytes) -> None:
        # gotcha G2: a cancelled handler must not leave half of it sent, so only a deadline ends a
        # send.
        if not self._response_charged:
            self._context.send_buffers.charge(self, len(data))
        try:
            with self._hypercorn.sends.one(), suppress(*_GONE):
                async with self._sending:
                    await self._stream.send_all(data)
                return
        finally:
            if not self._response_charged:
                self._context.send_buffers.release(self)
        self._life.cancel()

    # As a client of the send buffers.

    @property
    def connection(self) -> "HypercornConnection":
        return self

    def close(self) -> None:
        self.cut()

    async def _close_gracefully(self) -> None:
        """Ends the response, and reads what the client still sends before the close (gotcha G4)."""
        with trio.move_on_after(self._context.timeouts.linger), suppress(*_GONE):
            if isinstance(self._stream, trio.SSLStream):
                # Fails while the client still sends. The response has a length, so it has an end.
                with suppress(trio.BrokenResourceError):
                    await self._stream.unwrap()
            await self._transport.send_eof()
            while await self._transport.receive_some(_CHUNK):
                pass
