"""Hypercorn's protocol without its server: the open connections, and their end.

Hypercorn's own server would let one connection end the process, let a client that never reads hold
up a shutdown, and keep idle connections for ever (gotchas G1 to G4 in README). So everything around
the protocol is ours.
"""

import sys
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from quart_trio import QuartTrio

from gateway.http.context import HttpContext
from gateway.http.hypercorn.connection import HypercornConnection, ServerContext
from gateway.http.hypercorn.send_deadlines import SendDeadlines
from gateway.http.tls import Stream


class HypercornServer:
    """Serves an application on connections that the listener has accepted."""

    def __init__(self, app: QuartTrio, context: HttpContext) -> None:
        config: Any = Config()
        # By default Hypercorn ends a connection after 1,000 requests, between two of its client.
        config.keep_alive_max_requests = sys.maxsize
        config.include_server_header = False
        self._config = config
        self._worker = WorkerContext(None)
        self._sends = SendDeadlines(context.timeouts.send)
        self._shared = ServerContext(ASGIWrapper(app), config, self._worker, self._sends, context)
        self._connections: set[HypercornConnection] = set()

    async def serve(self, stream: Stream, first: bytes = b"") -> None:
        """Serves one connection to its end, and closes it.

        `first` are bytes that were read from it already. With TLS, the handshake has been made.
        """
        connection = HypercornConnection(self._shared, stream, first)
        self._connections.add(connection)
        if self._worker.terminated.is_set():
            connection.filter.stop()
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def stop(self, latest: float) -> None:
        """Ends idle connections. A request that has begun is the last one of its connection.

        The last send ends by `latest`, a time of Trio's clock; the caller cancels the connections
        then.
        """
        await self._worker.terminated.set()
        self._config.keep_alive_max_requests = 0  # every response says `Connection: close`
        self._sends.end_by(latest)
        for connection in self._connections:
            connection.filter.stop()
