"""A load and its results: values that harness and generator exchange as JSON.

There are two kinds. *Closed-loop*: each caller sends its next request after the answer. This
measures capacity and what a single caller sees, and hides queueing: a server that stalls gets fewer
requests. *Open-loop*: requests are due at a rate, also if earlier ones are not answered. Each is
timed from when it was due, not from when it could be sent, so a stall counts for every request that
was due during it.
"""

from typing import Literal

import msgspec

from benchmarks.load.histogram import Histogram

# A placeholder in a body: each request has another number there, which its answer must have too.
NONCE = b"0123456789abcdef"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one server, which is sent repeatedly."""

    host: str
    port: int
    path: str = "/model"
    body: bytes = b""
    headers: dict[str, str] = {}

    def request(self) -> bytes:
        """The bytes of the HTTP/1.1 request; without a body it is a GET."""
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
    `connections` callers. An open loop opens so many before it begins, and more, up to
    `most_connections`, when none is free. They call from `sources` in turn. After the last request
    the generator waits `patience` for answers; with `hang_up` it does not wait.
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
    """The results; latencies and lags in nanoseconds.

    `late` is the delay of an open loop's generator behind its schedule: if it is as large as the
    latencies, the generator itself was measured. `wrong` answers lacked their nonce. `lost`
    requests were sent and never answered. `drained` is the time from when the last request was due
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
        """The latencies of all responses, of any status."""
        return Histogram.merged(self.by_status.values())

    @property
    def good(self) -> Histogram:
        """The latencies of successful responses."""
        return self.by_status.get("200", Histogram())

    @property
    def failed(self) -> int:
        """The number of requests that got no 200, or the answer to another request."""
        return self.sent - self.good.count + self.wrong
