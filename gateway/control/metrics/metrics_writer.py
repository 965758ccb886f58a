"""The queue of metric records between the replicas and the store.

The reactor enqueues a record after the response was sent, so no prediction waits for its metrics. A
task writes what has collected, every 20 ms, so a loss of power costs that much and the time of two
commits. While the disk accepts nothing, records wait here, up to MOST_BYTES. Further records are
dropped, counted for their deployment, and logged. A project may have waiting at most SHARE times
what it leaves free, so a project that floods the queue does not cause another's records to be
dropped.

Rows are written in the transaction that deletes older ones for them, so all of them never take more
than the setting `metrics_max_size`. A batch waits while rows are deleted for it, some in each turn.

The records come from models, which may send anything: what is no record (`measurements.py`) counts
as refused. A body has at most 256 KiB (workers/replica/wire.py). A large one is checked by a
separate process first, since to count its keys may take more than a millisecond.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import trio

import store
from gateway.control.metrics.measurements import read
from gateway.control.metrics.metric_versions import MetricVersions
from gateway.control.metrics.retention_clock import RetentionClock
from store import Database, MetricRecord
from workers.sizes import MIB

# Seconds between two writes; bytes that may wait; and the most that one write takes, so that other
# writes get a turn.
PAUSE = 0.02
MOST_BYTES = 64 * MIB
_MOST_ROWS, _MOST_AT_ONCE = 500, 4 * MIB
# One batch is at most this part of all that is kept, so that it displaces few rows of others.
_PART = 16
# A project leaves free at least an eighth of what it holds, as a flow in a queue of requests does.
SHARE = 8
# The memory of a record beside its text, in bytes.
_OVERHEAD = 150
# Records that are parsed in one step: some 0.2 ms, in which the reactor waits.
_TURN = 50
# A body above this size, in bytes, is checked by a separate process.
_LARGE = 64 * 1024
# Seconds between two tries while the disk refuses, and between two warnings.
_RETRY = 1.0
_SILENCE = 60.0
# Seconds that the last writes may take.
_PATIENCE = 2.0

logger = logging.getLogger(__name__)


# Says what is wrong with a large body; "" if nothing is.
Examine = Callable[[bytes | bytearray, str], Awaitable[str]]


class MetricsWriterState(msgspec.Struct, frozen=True):
    """What waits, and what happened since the gateway started. `refused` counts predictions,
    `refused_values` the values that models were refused to track."""

    waiting: int
    waiting_bytes: int
    recorded: int
    dropped: int
    refused: int
    refused_values: int


class MetricsWriter:
    """The metric records that are not written yet."""

    def __init__(
        self,
        database: Database,
        *,
        limit: Callable[[], int],
        clock: RetentionClock,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`limit` returns how many bytes all rows may take now; `clock` dates their write."""
        self.versions = MetricVersions()
        self._database = database
        self._limit = limit
        self._clock = clock
        self._most_bytes = most_bytes
        # Project, deployment, body. No objects of ours: the garbage collector would scan tuples of
        # them again and again, which made this three times as slow.
        self._waiting: list[tuple[str, str, bytes | bytearray]] = []
        self._bytes = 0
        # The bytes that wait, by project.
        self._held: dict[str, int] = {}
        self._arrived = trio.Event()
        self._written = trio.Event()
        self._recorded = self._refused = self._refused_values = 0
        self._dropped: Counter[str] = Counter()
        self._warned = float("-inf")

    def sink_for(self, project_id: str, deployment_id: str) -> Callable[[bytes | bytearray], None]:
        """The callback for the metrics that replicas of a project's deployment send."""
        return partial(self._enqueue, project_id, deployment_id)

    def _enqueue(self, project_id: str, deployment_id: str, body: bytes | bytearray) -> None:
        size, held = len(body) + _OVERHEAD, self._held.get(project_id, 0)
        taken = self._bytes + size
        free = self._most_bytes - taken
        if free < 0 or held > SHARE * free:
            self._dropped[deployment_id] += 1
            self._warn("the disk is too slow, so some records were dropped")
            return
        self._bytes = taken
        self._held[project_id] = held + size
        if not self._waiting:
            self._arrived.set()
        self._waiting.append((project_id, deployment_id, body))

    def state(self) -> MetricsWriterState:
        return MetricsWriterState(
            waiting=len(self._waiting),
            waiting_bytes=self._bytes,
            recorded=self._recorded,
            dropped=self._dropped.total(),
            refused=self._refused,
            refused_values=self._refused_values,
        )

    def dropped(self, deployment_id: str) -> int:
        """The records of a deployment that were dropped since the gateway started."""
        return self._dropped[deployment_id]

    async def run(self, examine: Examine | None = None) -> None:
        """Writes what arrives, until it is cancelled."""
        while True:
            await self._arrived.wait()
            await trio.sleep(PAUSE)
            try:
                # What arrives meanwhile waits for the next turn. Otherwise each transaction would
                # write a few rows, and a transaction costs as much as a hundred rows.
                behind = len(self._waiting)
                while behind > 0:
                    behind -= await self._write(examine)
            except store.StoreFailed as error:
                self._warn(f"write failed, retried in {_RETRY:g} s: {error}")
                await trio.sleep(_RETRY)
            if not self._waiting:
                self._arrived = trio.Event()

    async def finish(self) -> None:
        """The last writes, after all replicas and `run` have ended."""
        try:
            with trio.move_on_after(_PATIENCE, shield=True):
                while self._waiting:
                    await self._write()
        except store.StoreFailed as error:
            logger.error("metrics.write_failed: %s", error)
        if self._waiting:
            logger.error("metrics.lost predictions=%d", len(self._waiting))

    async def flush(self) -> None:
        """Returns when what arrived before is written, or the disk refuses it."""
        with trio.move_on_after(_RETRY):
            behind = len(self._waiting)
            before = self._recorded + self._refused
            while self._recorded + self._refused < before + behind:
                await self._written.wait()

    async def _write(self, examine: Examine | None = None) -> int:
        """Writes the next batch and returns its size. Raises StoreFailed."""
        batch = self._next()
        rows: dict[str, list[MetricRecord]] = {}
        refused = refused_values = 0
        for number, (_, deployment_id, body) in enumerate(batch):
            is_large = len(body) > _LARGE
            if is_large or number % _TURN == _TURN - 1:
                await trio.lowlevel.checkpoint()
            wrong = await examine(body, deployment_id) if is_large and examine else ""
            found = None if wrong else read(body, examined=is_large and examine is not None)
            if found is None:
                refused += 1
            else:
                rows.setdefault(deployment_id, []).append(found[0])
                refused_values += found[1]
        if rows:
            await self._store(rows)
        # No checkpoint until the batch is out of the list.
        del self._waiting[: len(batch)]
        for project_id, _, body in batch:
            self._give_back(project_id, len(body) + _OVERHEAD)
        self._recorded += len(batch) - refused
        self._refused += refused
        self._refused_values += refused_values
        if refused:
            self._warn("a model sent something that is no metric record")
        self._written.set()
        self._written = trio.Event()
        return len(batch)

    async def _store(self, rows: dict[str, list[MetricRecord]]) -> None:
        """Writes rows, once older ones were deleted for them. Raises StoreFailed."""
        written = None
        while written is None:
            written = await self._database.write(
                store.metrics.append, rows, limit=self._limit(), now_ms=self._clock.now_ms()
            )
            if written is None:
                await trio.sleep(PAUSE)
        self.versions.changed(rows)

    def _give_back(self, project_id: str, size: int) -> None:
        self._bytes -= size
        self._held[project_id] -= size
        if not self._held[project_id]:
            del self._held[project_id]

    def _next(self) -> list[tuple[str, str, bytes | bytearray]]:
        """The next batch: so many records, or fewer if they are large."""
        batch = self._waiting[:_MOST_ROWS]
        size, most = 0, min(_MOST_AT_ONCE, self._limit() // _PART)
        for number, (_, _, body) in enumerate(batch):
            size += len(body)
            if size > most:
                return batch[: max(1, number)]
        return batch

    def _warn(self, problem: str) -> None:
        now = trio.current_time()
        if now - self._warned > _SILENCE:
            self._warned = now
            state = self.state()
            counts = (state.dropped, state.refused, state.waiting)
            logger.warning("metrics.delayed dropped=%d refused=%d waiting=%d: %s", *counts, problem)
