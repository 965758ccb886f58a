"""The HTTP server: the listener in front of Hypercorn, and the end of both."""

import socket
import ssl
from collections.abc import Sequence

import trio
from quart_trio import QuartTrio

from gateway.http.context import HttpContext
from gateway.http.hypercorn.server import HypercornServer
from gateway.http.listener import Listener
from workers import Reactor


async def serve_http(
    app: QuartTrio,
    sockets: Sequence[socket.socket],
    context: HttpContext,
    *,
    reactor: Reactor,
    stop: trio.Event,
    grace: float,
    tls: ssl.SSLContext | None = None,
    inherited: socket.socket | None = None,
    task_status: trio.TaskStatus[Listener] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves on `sockets` until `stop`, then gives requests that have begun `grace` seconds.

    Once it accepts clients, it reports its listener. At `stop` the sockets are closed, except the
    `inherited` one.
    """
    hypercorn = HypercornServer(app, context)
    async with trio.open_nursery() as connections:
        listener = Listener(
            context, reactor=reactor, tasks=connections, fallback=hypercorn.serve, tls=tls
        )
        listener.open(sockets)
        try:
            task_status.started(listener)
            await stop.wait()
            connections.cancel_scope.deadline = latest = trio.current_time() + grace
            await hypercorn.stop(latest)
            listener.stop(inherited)
            await listener.wait_answered()
        finally:
            listener.stop(inherited)
            listener.close()
