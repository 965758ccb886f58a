"""What a load is and what came of it: values that travel between harness and generator as JSON.

Two kinds. *Closed-loop*: each caller sends when it has its answer. That measures capacity and what
an unhurried caller sees, and hides queueing: a server that stalls is simply asked less.
*Open-loop*: requests are due at a rate, whether earlier ones were answered or not, and each is
timed from the moment it was due, not from the moment it could be sent; so a stall counts for all
who came during it.
"""

from typing import Literal

import msgspec

from benchmarks.load.histogram import Histogram

# In a body whose answers must carry it: replaced by a different number in every request.
NONCE = b"0123456789abcdef"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one server, sent again and again."""

    host: str
    port: int
    path: str = "/model"
    body: bytes = b""
    headers: dict[str, str] = {}

    def request(self) -> bytes:
        """The bytes of the request as HTTP/1.1 has it; without a body it is a GET."""
        method = "POST" if self.body else "GET"
        lines = [f"{method} {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        headers = dict(self.headers)
        if self.body:
            headers = {"Content-Type": "application/json"} | headers
            headers["Content-Length"] = str(len(self.body))
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How one generator process calls a target. Times in seconds.

    `rate` is requests per second of an open loop; None is a closed loop. A closed loop has
    `connections` callers; an open loop opens so many before it begins, and more, up to
    `most_connections`, when none is free. They call from `sources` in turn. `patience` is how long
    answers are awaited after the last request; with `hang_up` they are not awaited at all.
    """

    target: Target
    seconds: float
    rate: float | None = None
    arrivals: Literal["constant", "poisson"] = "constant"
    connections: int = 1
    most_connections: int = 2000
    sources: tuple[str, ...] = ("127.0.0.1",)
    nonce: bool = False
    warm_up: float = 0.3
    patience: float = 40.0
    hang_up: bool = False


class Answers(msgspec.Struct):
    """What came back; latencies and lags in nanoseconds.

    `late` is how far behind its own schedule an open loop's generator was: where that is as large
    as the latencies, the generator was what was measured. `wrong` answers lacked their nonce.
    `lost` requests were sent and never answered. `drained` is from the last request's being due
    to the last answer. `timeline` counts answers by second since the beginning and status.
    """

    sent: int
    wrong: int
    lost: int
    seconds: float
    drained: float
    by_status: dict[str, Histogram]
    late: Histogram
    most_outstanding: int
    timeline: list[tuple[int, int, int]]
    cpu_seconds: float

    @property
    def latency(self) -> Histogram:
        """Of all responses, of any status."""
        return Histogram.merged(self.by_status.values())

    @property
    def good(self) -> Histogram:
        """Of the answers that are answers."""
        return self.by_status.get("200", Histogram())

    @property
    def failed(self) -> int:
        """Requests that got no 200, or the answer to another request."""
        return self.sent - self.good.count + self.wrong
