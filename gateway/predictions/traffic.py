"""What has happened to the requests of one model since the last look: counted on the hot path.

The hot path adds to plain integers, and appends one tuple of its latest requests. A task takes both
away every second (`gateway/control/history/recorder.py`). The laws:

- Nothing here grows with the number of requests: the counts are as many as there are error codes,
  the histograms have a fixed size, and of the latest requests only so many are kept.
- A failure displaces only failures, so it is not lost among many successes.

A histogram has buckets whose bounds grow by a tenth, from 10 microseconds to 1000
seconds. So the middle of a bucket is within 5 % of each of its values, and histograms are merged by
adding.
"""

from collections import deque
from math import log
from typing import NamedTuple

from gateway.identity.key_index import IndexedKey
from workers import Pool, Ticket

# The lower bound of the second bucket, in seconds; the first has all that is below.
LEAST = 1e-5
GROWTH = 1.1
BUCKETS = 195
_LAST = BUCKETS - 1
_PER_LOG = 1 / log(GROWTH)
# Requests that are kept between two looks: of those that failed, and of the others.
MOST_KEPT = 100
# The code of a request whose client disconnected before the response; its status is 0.
ABANDONED = "abandoned"


def bucket_of(seconds: float) -> int:
    """The bucket of a duration."""
    if seconds < LEAST:
        return 0
    return min(_LAST, int(log(seconds / LEAST) * _PER_LOG) + 1)


def middle_of(bucket: int) -> float:
    """A duration that is within 5 % of each in this bucket, in seconds."""
    return float(LEAST * GROWTH ** (bucket - 0.5))


class RequestRecord(NamedTuple):
    """How one request ended. `at` is of the reactor's clock. `code` is "" for a success.
    `service` is None where no replica got it; then `wait` is all the time that it had."""

    at: float
    request_id: str
    status: int
    code: str
    wait: float
    service: float | None
    replica: str
    pool: Pool | None
    key_id: str
    user_id: str
    test: bool


class ModelTraffic:
    """The requests of one model since the last look. `latency` has the time in the gateway of those
    that a replica got, `wait` the part of it in the queue."""

    __slots__ = ("failed", "failures", "kept", "latency", "recent", "success", "wait")

    def __init__(self) -> None:
        self.success = 0
        self.failures: dict[str, int] = {}
        self.latency = [0] * BUCKETS
        self.wait = [0] * BUCKETS
        # Whether single requests are kept.
        self.kept = True
        self.recent: deque[RequestRecord] = deque(maxlen=MOST_KEPT)
        self.failed: deque[RequestRecord] = deque(maxlen=MOST_KEPT)

    def reset(self) -> None:
        """Counts from 0 again; the latest requests stay."""
        self.success = 0
        self.failures = {}
        self.latency = [0] * BUCKETS
        self.wait = [0] * BUCKETS

    def add(
        self,
        now: float,
        request_id: str,
        status: int,
        code: str,
        ticket: Ticket | None,
        caller: IndexedKey | None,
        test: bool,
    ) -> None:
        """Counts a request that has ended now."""
        wait, service, replica, pool = 0.0, None, "", None
        if ticket is not None:
            entered, assigned, pool = ticket.entered, ticket.assigned, ticket.owner
            if assigned:
                wait, service = assigned - entered, now - assigned
                outcome = ticket.outcome
                if code != ABANDONED:
                    self.wait[bucket_of(wait) if wait >= LEAST else 0] += 1
                    self.latency[bucket_of(now - entered)] += 1
                replica = getattr(outcome, "replica", "")
            else:
                wait = now - entered
        if code:
            self.failures[code] = self.failures.get(code, 0) + 1
        else:
            self.success += 1
        if not self.kept:
            return
        key_id, user_id = ("", "") if caller is None else (caller.key_id, caller.user_id)
        # A plain tuple: making it costs half as much.
        (self.failed if code else self.recent).append(
            (now, request_id, status, code, wait, service, replica, pool, key_id, user_id, test)  # type: ignore[arg-type]
        )
