"""What all connections of a gateway share, whichever server answers them."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.http.access_log import AccessLog
from gateway.http.fair_shares import FairShares
from gateway.http.head_cache import HeadCache
from gateway.http.proxies import Proxies
from gateway.http.responses import ResponseRenderer
from gateway.http.send_buffers import SendBufferLimit
from gateway.http.timeouts import HttpTimeouts
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import OffloadedParser
from workers import MovableTimer


class Clock(Protocol):
    """The time in seconds, and timers on it. The reactor is one."""

    @property
    def now(self) -> Callable[[], float]: ...
    def alarm(self, call: Callable[[], object]) -> MovableTimer: ...


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections there may be, and how many bytes of memory they may take.

    `request_bytes` bounds one request body. `inflight_bytes` bounds all request bodies that have
    not been answered, and separately all responses that clients have not read.
    """

    connections: int
    connections_per_address: int
    request_bytes: int
    inflight_bytes: int


class ConnectionStats(msgspec.Struct, kw_only=True):
    """`connections` open now; the other counts are since the start.

    `answers` counts, by HTTP status, the responses that did not come from Hypercorn.
    """

    connections: int = 0
    accepted: int = 0
    rejected: int = 0
    answers: Counter[int] = msgspec.field(default_factory=Counter)


class HttpContext:
    """What connections read, and the budgets they share.

    `endpoints` and `offload` serve predictions. `connection_shares` and `request_memory` are
    divided among clients; `send_buffers` disconnects the slowest ones.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        endpoints: Endpoints,
        offload: OffloadedParser,
        limits: ConnectionLimits,
        stats: ConnectionStats | None = None,
        proxies: Proxies | None = None,
        access_log: AccessLog | None = None,
        timeouts: HttpTimeouts | None = None,
    ) -> None:
        self.now = clock.now
        self.make_timer = clock.alarm
        self.endpoints = endpoints
        self.offload = offload
        self.stats = stats or ConnectionStats()
        self.proxies = proxies or Proxies()
        self.access_log = access_log
        self.timeouts = timeouts or HttpTimeouts()
        self.responses = ResponseRenderer()
        self.connection_shares = FairShares(limits.connections)
        self.request_memory = FairShares(limits.inflight_bytes)
        self.send_buffers = SendBufferLimit(limits.inflight_bytes)
        self.set_limits(limits)

    def set_limits(self, limits: ConnectionLimits) -> None:
        """Applies new limits. Connections and bytes that exceed them stay."""
        self.limits = limits
        # A new cache, because a remembered head says whether its body is too large.
        self.head_cache = HeadCache(limits.request_bytes)
        self.connection_shares.resize(limits.connections)
        self.request_memory.resize(limits.inflight_bytes)
        self.send_buffers.resize(limits.inflight_bytes)
