"""HTTP by Hypercorn, without its server: the connections there are, and their end.

Hypercorn's own server would let one connection end the process, one client that never reads its
reply hold up a shutdown, and idle connections stay for ever (gotchas G1 to G4 in README). So what
is around a connection is ours, and only what speaks HTTP on it is Hypercorn's.
"""

import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from quart_trio import QuartTrio

from gateway.http.access_log import AccessLog
from gateway.http.fair_shares import FairShares
from gateway.http.hypercorn_connection import (
    HypercornConnection,
    SendDeadlines,
    ServerContext,
    Stream,
)
from gateway.http.listener import ConnectionLimits, ConnectionStats, Listener
from gateway.http.proxies import Proxies
from gateway.http.responses import ResponseRenderer
from gateway.http.send_buffers import SendBufferLimit
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import OffloadedParser
from workers import Reactor


class HypercornServer:
    """Serves an application on connections that somebody else has accepted."""

    def __init__(
        self,
        app: QuartTrio,
        access_log: AccessLog | None = None,
        proxies: Proxies | None = None,
        untaken: SendBufferLimit | None = None,
        memory: FairShares | None = None,
        max_request_size: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        config: Any = Config()
        # By default a connection ends after 1,000 requests, under the feet of a client in mid-flow.
        config.keep_alive_max_requests = sys.maxsize
        config.include_server_header = False
        self._config = config
        self._context = WorkerContext(None)
        self._sends = SendDeadlines()
        self._shared = ServerContext(
            ASGIWrapper(app),
            config,
            self._context,
            self._sends,
            ResponseRenderer(),
            access_log,
            proxies or Proxies(),
            untaken or SendBufferLimit(sys.maxsize),
            memory or FairShares(sys.maxsize),
            max_request_size,
        )
        self._connections: set[HypercornConnection] = set()

    async def serve(self, stream: Stream, first: bytes = b"") -> None:
        """Serves one connection to its end, and closes it.

        `first` are bytes that were read from it already. The TLS handshake, where there is one,
        need not have been made.
        """
        connection = HypercornConnection(self._shared, stream, first)
        self._connections.add(connection)
        if self._context.terminated.is_set():
            connection.gate.stop()
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def stop(self, latest: float) -> None:
        """Ends what is idle, and lets the requests that have begun be the last of their connection.

        By `latest`, a time of Trio's clock, the last send is over; whoever runs the connections
        cancels them then.
        """
        await self._context.terminated.set()
        self._config.keep_alive_max_requests = 0  # every reply says `Connection: close`
        self._sends.end_by(latest)
        for connection in self._connections:
            connection.gate.stop()


async def serve_hypercorn(
    app: QuartTrio,
    listeners: Sequence[socket.socket],
    *,
    kept: socket.socket | None = None,
    reactor: Reactor,
    routes: Endpoints,
    examiner: OffloadedParser,
    bounds: ConnectionLimits,
    traffic: ConnectionStats,
    stop: trio.Event,
    grace: float,
    proxies: Proxies,
    tls: ssl.SSLContext | None = None,
    access_log: AccessLog | None = None,
    task_status: trio.TaskStatus[Listener] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `stop`, then gives requests that have begun `grace` seconds. Started, it gives
    its door, whose bounds may change. At `stop` the listeners are closed, but for one that is to be
    `kept`."""
    untaken = SendBufferLimit(bounds.max_inflight_bytes)
    memory = FairShares(bounds.max_inflight_bytes)
    server = HypercornServer(
        app, access_log, proxies, untaken, memory, lambda: door.max_request_size
    )
    async with trio.open_nursery() as connections:
        door = Listener(
            reactor=reactor,
            routes=routes,
            examiner=examiner,
            bounds=bounds,
            traffic=traffic,
            tasks=connections,
            elsewhere=server.serve,
            proxies=proxies,
            tls=tls,
            access_log=access_log,
            untaken=untaken,
            memory=memory,
        )
        door.open(listeners)
        try:
            task_status.started(door)
            await stop.wait()
            connections.cancel_scope.deadline = latest = trio.current_time() + grace
            await server.stop(latest)
            door.stop(kept)
            await door.wait_answered()
        finally:
            door.stop(kept)
            door.close()
