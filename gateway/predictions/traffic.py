"""What has happened to the requests of one model since the last look: counted on the hot path.

The hot path adds to plain integers, and keeps some of the requests. A task takes both
away every second (`gateway/control/history/recorder.py`). The laws:

- Nothing here grows with the number of requests: the counts are as many as there are error codes,
  the histograms have a fixed size, and of the requests only so many are kept.
- Of many requests between two looks the first successes and the last failures are kept, and all
  tests, as far as they fit; neither displaces the other.

A histogram has buckets whose bounds grow by 9 %, from 20 microseconds to 1000
seconds. So the middle of a bucket is within 5 % of each of its values, and histograms are merged by
adding.
"""

from collections import deque
from math import log
from typing import NamedTuple

from gateway.identity.key_index import IndexedKey
from workers import Pool, Ticket

# The lower bound of the second bucket, in seconds; the first has all that is below.
LEAST = 2e-5
GROWTH = 1.09
BUCKETS = 208
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


# The buckets of durations below 16 ms, by quarters of a microsecond: a logarithm costs more.
_UNITS = 4e6
_TABLE = [bucket_of((unit + 0.5) / _UNITS) for unit in range(1 << 16)]


def middle_of(bucket: int) -> float:
    """A duration that is within 5 % of each in this bucket, in seconds."""
    return float(LEAST * GROWTH ** (bucket - 0.5))


class RequestRecord(NamedTuple):
    """How one request ended. `at` is of the reactor's clock, as is when it `entered` the queue and
    when a replica got it (`assigned`, 0 if none did). `code` is "" for a success."""

    at: float
    request_id: str
    status: int
    code: str
    entered: float
    assigned: float
    replica: str
    pool: Pool | None
    caller: IndexedKey | None
    test: bool


class ModelTraffic:
    """The requests of one model since the last look. `latency` has the time in the gateway of those
    that a replica got, `wait` the part of it in the queue."""

    __slots__ = ("failed", "failures", "kept", "latency", "recent", "room", "success", "wait")

    def __init__(self) -> None:
        self.success = 0
        self.failures: dict[str, int] = {}
        self.latency = [0] * BUCKETS
        self.wait = [0] * BUCKETS
        # Whether single requests are kept.
        self.kept = True
        # How many more successes are kept until the next look; tests are kept beyond it.
        self.room = MOST_KEPT
        self.recent: deque[RequestRecord] = deque(maxlen=MOST_KEPT)
        self.failed: deque[RequestRecord] = deque(maxlen=MOST_KEPT)

    def reset(self) -> None:
        """Counts from 0 again; the latest requests stay."""
        self.success = 0
        self.failures = {}
        self.latency = [0] * BUCKETS
        self.wait = [0] * BUCKETS

    def take_requests(self, most: int) -> list[RequestRecord]:
        """Takes the requests that are kept, and returns at most so many, ascending: failures have
        at least half of the share."""
        failed, recent = list(self.failed), list(self.recent)
        self.failed.clear()
        self.recent.clear()
        room = max(most - len(recent), -(-most // 2))
        failed = failed[-room:]
        left = most - len(failed)
        recent = recent[-left:] if left > 0 else []
        return sorted([*failed, *recent], key=lambda each: each[0])

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
        assigned = 0.0 if ticket is None else ticket.assigned
        if assigned and ticket is not None and code != ABANDONED:
            entered = ticket.entered
            wait = assigned - entered
            self.wait[bucket_of(wait) if wait >= LEAST else 0] += 1
            try:
                self.latency[_TABLE[int((now - entered) * _UNITS)]] += 1
            except IndexError:
                self.latency[bucket_of(now - entered)] += 1
        if code:
            self.failures[code] = self.failures.get(code, 0) + 1
            kept = self.failed
        else:
            self.success += 1
            if self.room <= 0 and not test:
                return
            self.room -= 1
            kept = self.recent
        if self.kept:
            entered, pool, replica = now, None, ""
            if ticket is not None:
                entered, pool = ticket.entered, ticket.owner
                replica = getattr(ticket.outcome, "replica", "")
            kept.append(
                RequestRecord(
                    *(now, request_id, status, code, entered, assigned, replica),
                    pool=pool,  # type: ignore[arg-type]
                    caller=caller,
                    test=test,
                )
            )
