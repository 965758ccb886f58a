"""One connection of Hypercorn's, that can hurt nobody but itself.

Of Hypercorn only what speaks HTTP/1.1 is used, by names that it does not promise: hence its exact
version in pyproject.toml. Before it stands the gate (request_filter.py), around it this guard: an
error ends no more than its connection, a send has a deadline, and a close loses no answer (gotchas
G1 to G4 in README).
"""

import logging
import math
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
from gateway.http.access_log import AccessLog
from gateway.http.body import Passing
from gateway.http.fair_shares import FairShares
from gateway.http.proxies import Proxies, plain
from gateway.http.request_filter import Disconnected, RequestFilter
from gateway.http.request_head import Head, ProtocolError
from gateway.http.responses import ResponseRenderer
from gateway.http.send_buffers import SendBufferLimit
from gateway.predictions.call import CallResponse, is_call, refusal_response

logger = logging.getLogger(__name__)

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Address = tuple[str, int] | None

# How long a client may take to read what was sent to it.
SEND_SECONDS = 30.0
# How long a client that still sends after its answer is listened to.
LINGER_SECONDS = 2.0
HANDSHAKE_SECONDS = 10.0
_CHUNK = 64 * 1024
# What is kept of a body that is no model's: those of JSON are no larger (admin/json_body.py), and
# an upload comes no faster than it is written (admin/uploads.py).
_KEPT = 512 * 1024
# In the head of a reply.
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"\r\nx-request-id: ([0-9a-f-]+)\r\n", re.IGNORECASE)
# SO_LINGER of no seconds: what has not been sent is dropped at the close.
_RESET = struct.pack("ii", 1, 0)
# So much of an answer may wait in the kernel beside what is on its way: by default 4 MB, of each
# client that does not read.
_UNSENT = 128 * 1024
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class SendDeadlines:
    """The sends under way, so that the end of the gateway can bound them all."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._latest = math.inf

    @contextmanager
    def one(self) -> Iterator[None]:
        """Inside, a send that cannot be cancelled but has a deadline."""
        due = min(trio.current_time() + SEND_SECONDS, self._latest)
        with trio.CancelScope(deadline=due, shield=True) as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def end_by(self, latest: float) -> None:
        self._latest = latest
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, latest)


class ServerContext(NamedTuple):
    """What the connections of one server share."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    sends: SendDeadlines
    replies: ResponseRenderer
    access_log: AccessLog | None
    proxies: Proxies
    untaken: SendBufferLimit
    # The room of bodies, and how large a model's may be.
    memory: FairShares
    max_request_size: Callable[[], int]


class HypercornConnection:
    """One connection until its close; `first` are bytes that were read from `stream` already."""

    def __init__(self, shared: ServerContext, stream: Stream, first: bytes) -> None:
        self.gate = RequestFilter(stream, first)
        self._shared = shared
        self._stream = stream
        self._transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        with suppress(OSError):  # it is gone already, as the first read will tell
            option = socket.TCP_NOTSENT_LOWAT
            self._transport.socket.setsockopt(socket.IPPROTO_TCP, option, _UNSENT)
        self._peer, self._server = self._addresses()
        # The client of the request that has begun last: a proxy sends those of many clients.
        self._client = self._peer
        self._proxied = self._peer is not None and shared.proxies.trusts(self._peer[0])
        # The flow whose memory it takes, while the client is slow to read.
        self.flow = network_of(self._peer[0]) if self._peer else ""
        self._life = trio.CancelScope()
        self._sending = trio.Lock()
        self._replying = False
        self._reply_head = b""  # of the reply that has begun last
        # Whether what the application still says is kept from the client.
        self._over = False
        # Of the request that is answered now: its body, and whether all of its answer is counted.
        self._body: Passing | None = None
        self._holds_answer = False

    async def run(self) -> None:
        """Serves until the client, an error or the gateway ends it, then closes the stream."""
        try:
            if await self._shake_hands():
                await self._guard()
                if self.gate.busy or self._replying:
                    self._note()
                await self._close_gracefully()
        finally:
            self._give_back()
            await trio.aclose_forcefully(self._transport)

    def hold_answer(self, size: int) -> None:
        """The application keeps so many bytes of its answer until all of it is sent."""
        self._give_answer_back()
        self._holds_answer = True
        self._shared.untaken.charge(self, size)

    def _give_back(self) -> None:
        """The memory of the request that was answered, or never will be."""
        self._give_answer_back()
        if self._body is not None:
            self._body.release()
            self._body = None

    def _give_answer_back(self) -> None:
        if self._holds_answer:
            self._holds_answer = False
            self._shared.untaken.release(self)

    def cut(self) -> None:
        """Ends it at once: nothing is sent from the return on, not even what waits in the kernel.
        The client sees a reset, not an answer that looks whole."""
        self._over = True
        self._life.cancel()
        with suppress(OSError):  # it is closed already
            self._transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.socket.close()

    async def _shake_hands(self) -> bool:
        """Whether both sides speak TLS now, or need not."""
        if isinstance(self._stream, trio.SSLStream):
            try:
                with trio.fail_after(HANDSHAKE_SECONDS):
                    await self._stream.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                return False
        return True

    async def _guard(self) -> None:
        try:
            with self._life:
                await self._serve()
        except* Exception:
            # gotcha G1: whatever a client sends, the worst it gets is its connection closed.
            logger.info("a connection was ended by an error", exc_info=True)

    async def _serve(self) -> None:
        async with TaskGroup() as tasks:
            protocol = H11Protocol(
                self._shared.app,
                self._shared.config,
                self._shared.context,
                tasks,
                ConnectionState(LifespanState(cut=self.cut, hold=self.hold_answer)),
                isinstance(self._stream, trio.SSLStream),
                self._client,
                self._server,
                self._on_event,
            )
            tasks.spawn(self.gate.read_ahead)

            def begin(head: Head) -> None:
                # Hypercorn gives these to the application with the request that it reads next.
                self._client, protocol.ssl = self._source(head)
                protocol.client = self._client
                self._begin_body(head)

            async def pass_on(data: bytes) -> None:
                # The head comes first; an announced body has its room already.
                if self._body is not None and self.gate.passes_body:
                    self._body.grow(len(data))
                await protocol.handle(RawData(data))

            try:
                await self.gate.forward(pass_on, begin)
            except Disconnected:
                self._over = True
            except (ProtocolError, Refusal) as malformed:
                self._over = True
                if self.gate.current is None:
                    self._client = self._peer  # it belongs to no request
                if not self._replying:
                    self._replying, self._reply_head = True, self._error_response(malformed)
                    await self._send(self._reply_head)
            self._life.cancel()

    def _begin_body(self, head: Head) -> None:
        """Room for the body, before any of it is read. Raises Refusal."""
        if head.length or head.chunked:
            flow = network_of(self._client[0]) if self._client else ""
            most = self._shared.max_request_size() if is_call(head.path) else _KEPT
            self._body = Passing(self._shared.memory, flow, head.length, most)

    def _source(self, head: Head) -> tuple[Address, bool]:
        """The client of this request, and whether it came to us, or to a proxy, over TLS."""
        own = isinstance(self._stream, trio.SSLStream)
        if not self._proxied or self._peer is None:
            return self._peer, own or self._shared.proxies.is_public(head.headers)
        source = self._shared.proxies.source(head.headers)
        # What a proxy says of ports is not read.
        return (source.address, 0) if source.address else self._peer, own or source.secure

    def _error_response(self, malformed: ProtocolError | Refusal) -> bytes:
        """The reply to a request that no application gets to see, or not all of it."""
        refused, request_id = refusal(malformed), self._shared.replies.new_id()
        reply = refusal_response(refused, request_id)
        if self.gate.current is not None and self.gate.current.path.startswith(API_PREFIX):
            reply = CallResponse(reply.status, admin_body(refused))
        now = trio.current_time()
        return b"".join(self._shared.replies.render(reply, request_id, now, connection="close"))

    def _addresses(self) -> tuple[Address, Address]:
        """Whose connection it is, and where it came in; a client may be gone already."""
        ours = self._transport.socket
        try:
            client = parse_socket_addr(ours.family, ours.getpeername())
            client = client and (plain(client[0]), client[1])
        except OSError:
            client = None
        return client, parse_socket_addr(ours.family, ours.getsockname())

    async def _on_event(self, event: Event) -> None:
        """What Hypercorn has to say."""
        if isinstance(event, RawData):
            if not self._over:
                # `100 Continue` is not the reply yet.
                if not self._replying and not event.data.startswith(b"HTTP/1.1 1"):
                    self._replying, self._reply_head = True, event.data
                await self._send(event.data)
        elif isinstance(event, Closed):
            # gotcha G3: the gate may wait for an application that has ended.
            self._life.cancel()
        elif isinstance(event, Updated) and event.idle:
            # gotcha G3: without an await, since the application's end must not come between.
            self._note()
            self._give_back()
            self._replying, self._reply_head = False, b""
            self.gate.answered()

    def _note(self) -> None:
        """Notes the request, and what was answered as far as it was."""
        if self._shared.access_log is None:
            return
        head, reply = self.gate.current, self._reply_head
        length, request_id = _LENGTH.search(reply), _REQUEST_ID.search(reply)
        size = int(length[1]) if length else -1
        self._shared.access_log.add(
            self._client[0] if self._client else "-",
            head,
            int(reply[9:12] or b"0"),
            0 if head and head.method == "HEAD" else size,
            trio.current_time() - self.gate.began if head else 0.0,
            request_id[1].decode() if request_id else "",
        )

    async def _send(self, data: bytes) -> None:
        # gotcha G2: half of it must not go out because a handler was cancelled, so only a
        # deadline ends a send.
        if not self._holds_answer:
            self._shared.untaken.charge(self, len(data))
        try:
            with self._shared.sends.one(), suppress(*_GONE):
                async with self._sending:
                    await self._stream.send_all(data)
                return
        finally:
            if not self._holds_answer:
                self._shared.untaken.release(self)
        self._life.cancel()

    # As a taker of what is sent (send_buffers.py).

    @property
    def connection(self) -> "HypercornConnection":
        return self

    def close(self) -> None:
        self.cut()

    async def _close_gracefully(self) -> None:
        """Says that no more comes, and reads what still does before the close (gotcha G4)."""
        with trio.move_on_after(LINGER_SECONDS), suppress(*_GONE):
            if isinstance(self._stream, trio.SSLStream):
                # Fails where the client still sends; what it was told has an end all the same.
                with suppress(trio.BrokenResourceError):
                    await self._stream.unwrap()
            await self._transport.send_eof()
            while await self._transport.receive_some(_CHUNK):
                pass
