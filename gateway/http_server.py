"""HTTP for everything, by Hypercorn's connections, guarded.

Hypercorn's own server would let one connection end the process, and one client that never reads
its reply hold up a shutdown (gotchas G1 and G2 in README). So the listening, the shutdown and the
guard are ours, and only what speaks HTTP on one connection is Hypercorn's. The guard touches names
that Hypercorn does not promise, hence its exact version in pyproject.toml.
"""

import logging
import socket
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from quart_trio import QuartTrio

logger = logging.getLogger(__name__)

# How long a client may take to read what was sent to it.
SEND_SECONDS = 30.0
IDLE_SECONDS = 75.0
# How long a client may go on sending what nobody will read, so that it gets to read its reply.
LINGER_SECONDS = 5.0
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


class GuardedConnection(TCPServer):
    """One connection, that can hurt nobody but itself."""

    async def run(self) -> None:
        try:
            await super().run()
        except Exception:
            # gotcha G1: whatever a client sends, the worst it gets is its connection closed.
            logger.info("a connection was ended by an error", exc_info=True)

    async def _read_data(self) -> None:
        with trio.CancelScope() as self._reading:
            await super()._read_data()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Closed):
            await self._linger()
            await self.protocol.handle(event)
            return
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        # gotcha G2: Hypercorn shields the sending, so that nothing would end it. Ours ends at its
        # deadline, and with the connection when the gateway stops.
        with trio.move_on_after(SEND_SECONDS):
            async with self.send_lock:
                try:
                    await self.stream.send_all(event.data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
                else:
                    return
        await self.stream.aclose()

    async def _linger(self) -> None:
        """Says that no more is coming, and reads on for a while.

        A socket closed with something unread in it resets the connection, and whoever still sends
        a body that was refused never sees why.
        """
        try:
            await self.stream.send_eof()
        except (trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError):
            await self.stream.aclose()
        else:
            due = trio.current_time() + LINGER_SECONDS
            self._reading.deadline = min(self._reading.deadline, due)


async def serve_http(
    app: QuartTrio,
    listener: socket.socket,
    *,
    stop: trio.Event,
    grace: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `stop`, then gives requests that have begun `grace` seconds."""
    config = Config()
    config.keep_alive_timeout = IDLE_SECONDS
    config.graceful_timeout = grace
    config.include_server_header = False
    config.h11_max_incomplete_size = 16 * 1024
    context = WorkerContext(None)
    handle: Any = partial(
        GuardedConnection,
        ASGIWrapper(app),
        config,
        context,
        ConnectionState(LifespanState()),
    )
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, handle, listeners, handler_nursery=connections)
            )
            task_status.started()
            await stop.wait()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        connections.cancel_scope.deadline = trio.current_time() + grace
