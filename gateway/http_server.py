"""HTTP for everything, by Hypercorn's connections, guarded.

Hypercorn's own server would let one connection end the process, one client that never reads its
reply hold up a shutdown, and idle connections stay for ever (gotchas G1 to G4 in README). So the
listening, the shutdown and the guard are ours, and only what speaks HTTP on one connection is
Hypercorn's. The guard touches names that Hypercorn does not promise, hence its exact version in
pyproject.toml.
"""

import logging
import math
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from quart_trio import QuartTrio

from gateway.envelopes import Examiner
from gateway.front_door import Bounds, FrontDoor
from gateway.routes import Routes
from workers import Reactor

logger = logging.getLogger(__name__)

# How long a client may take to read what was sent to it.
SEND_SECONDS = 30.0
IDLE_SECONDS = 75.0
# How long a client that still sends after its answer is listened to.
_LINGER_SECONDS = 2.0
_CHUNK = 64 * 1024
_BACKLOG = 1024


class PortTaken(OSError):
    """Somebody else listens there. The operator must act."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, not inheritable. Raises PortTaken, or OSError for a host not ours."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in (98, 13):  # in use; a privileged port
            raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
        raise
    listener.setblocking(False)
    return listener


class _Sends:
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


class GuardedConnection(TCPServer):
    """One connection, that can hurt nobody but itself."""

    def __init__(self, sends: _Sends, *rest: Any) -> None:
        super().__init__(*rest)
        self._sends = sends
        self._life = trio.CancelScope()

    async def run(self) -> None:
        try:
            with self._life:
                await super().run()
        except* Exception:
            # gotcha G1: whatever a client sends, the worst it gets is its connection closed.
            logger.info("a connection was ended by an error", exc_info=True)
        finally:
            await self._say_goodbye()

    async def _read_data(self) -> None:
        await super()._read_data()
        self._life.cancel()  # the client is gone; the idle clock alone would keep the rest

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            # gotcha G3: its reader may wait for an application that has ended.
            self._life.cancel()
        else:
            # gotcha G3: nor may the application's end keep the idle clock from being started.
            with trio.CancelScope(shield=True):
                await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        # gotcha G2: half of it must not go out because a handler was cancelled, so only a
        # deadline ends a send.
        with self._sends.one(), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self.send_lock:
                await self.stream.send_all(data)
            return
        self._life.cancel()

    async def _close(self) -> None:
        """Hypercorn's way to close, which loses what is on its way; `run` has its own."""

    async def _say_goodbye(self) -> None:
        """Says that no more comes, and reads what still does before it closes (gotcha G4)."""
        try:
            with trio.move_on_after(_LINGER_SECONDS):
                await self.stream.send_eof()
                while await self.stream.receive_some(_CHUNK):
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(self.stream)


async def serve_http(
    app: QuartTrio,
    listener: socket.socket,
    *,
    reactor: Reactor,
    routes: Routes,
    examiner: Examiner,
    bounds: Bounds,
    stop: trio.Event,
    grace: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `stop`, then gives requests that have begun `grace` seconds."""
    config = Config()
    config.keep_alive_timeout = IDLE_SECONDS
    # By default a connection ends after 1,000 requests, under the feet of a client in mid-flow.
    config.keep_alive_max_requests = sys.maxsize
    config.graceful_timeout = grace
    config.include_server_header = False
    config.h11_max_incomplete_size = 16 * 1024
    context = WorkerContext(None)
    sends = _Sends()

    async def elsewhere(client: Any, first: bytes) -> None:
        conn = GuardedConnection(
            sends,
            ASGIWrapper(app),
            config,
            context,
            ConnectionState(LifespanState()),
            Prefixed(client, first),
        )
        await conn.run()

    async with trio.open_nursery() as connections:
        door = FrontDoor(
            reactor=reactor,
            routes=routes,
            examiner=examiner,
            bounds=bounds,
            tasks=connections,
            elsewhere=elsewhere,
        )
        door.open(listener)
        task_status.started()
        await stop.wait()
        await context.terminated.set()
        connections.cancel_scope.deadline = latest = trio.current_time() + grace
        sends.end_by(latest)
        door.stop()
        try:
            await door.wait_answered()
        finally:
            door.close()


class Prefixed(trio.abc.HalfCloseableStream):
    def __init__(self, stream: Any, first: bytes) -> None:
        self._stream, self._first = stream, first
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
