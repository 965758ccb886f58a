"""What replicas tell of their predictions, on its way to the store.

It is told by the reactor, after the answer went out, and only laid down here: the law is that no
prediction waits for it. A task writes what has come together, with 20 ms between two turns, so a
loss of power costs so much and the time of two commits. While the disk takes nothing it stays here,
up to so many bytes; what then has no room is dropped, counted for its deployment, and the log says
so. A project may have waiting at most SHARE times what it leaves free, so one that floods does not
have another's rows dropped.

Rows and what makes room for them are written together, so all of them never take more than the
setting `metrics_max_size`: a batch waits while others' rows go for it, some in each turn.

What is told comes from models, which may say anything: what is no measurement (`measurements.py`)
counts as refused. A body is 256 KiB at most (workers/replica/wire.py). One that is large is looked
at by a process of ours first, since to count its keys may take more than a millisecond.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import trio

import store
from gateway.control.metrics.measurements import read
from gateway.control.metrics.retention_clock import RetentionClock
from store import Database, MetricRecord
from workers.sizes import MIB

# Between two writes; what waits for one; and how much one takes at most, so that others get a turn.
PAUSE = 0.02
MOST_BYTES = 64 * MIB
_MOST_ROWS, _MOST_AT_ONCE = 500, 4 * MIB
# One batch is at most this part of all that is kept, so that it pushes out little of others'.
_PART = 16
# A project leaves free at least an eighth of what it holds, as a flow in a queue of requests does.
SHARE = 8
# What lies here takes so much beside its text.
_OVERHEAD = 150
# Rows are read in turns of so many: some 0.2 ms, in which the reactor waits.
_TURN = 50
# Above this, in bytes, a body is examined elsewhere.
_LARGE = 64 * 1024
# Between two tries when the disk takes nothing, and between two complaints.
_RETRY = 1.0
_SILENCE = 60.0
# How long the last writes may take.
_PATIENCE = 2.0

logger = logging.getLogger(__name__)


# Says what is wrong with a large body, "" for nothing.
Examine = Callable[[bytes | bytearray, str], Awaitable[str]]


class MetricsWriterState(msgspec.Struct, frozen=True):
    """What an operator sees: what waits to be written, and what was since the gateway started.
    `refused` counts predictions, `refused_values` what models were refused to track."""

    waiting: int
    waiting_bytes: int
    recorded: int
    dropped: int
    refused: int
    refused_values: int


class MetricsWriter:
    """All that was told and is not yet written."""

    def __init__(
        self,
        database: Database,
        *,
        limit: Callable[[], int],
        clock: RetentionClock,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`limit` says how many bytes all rows may take now, `clock` when they were written."""
        self._database = database
        self._limit = limit
        self._clock = clock
        self._most_bytes = most_bytes
        # Project, deployment, what was told. No objects of ours: tuples of those would be looked at
        # by the garbage collector again and again, which made telling three times as slow.
        self._waiting: list[tuple[str, str, bytes | bytearray]] = []
        self._bytes = 0
        # Of each project that has something waiting, the bytes of it.
        self._held: dict[str, int] = {}
        self._told = trio.Event()
        self._written = trio.Event()
        self._recorded = self._refused = self._refused_values = 0
        self._dropped: Counter[str] = Counter()
        self._complained = float("-inf")

    def sink_for(self, project_id: str, deployment_id: str) -> Callable[[bytes | bytearray], None]:
        """The callback for the metrics that replicas of a project's deployment send."""
        return partial(self._enqueue, project_id, deployment_id)

    def _enqueue(self, project_id: str, deployment_id: str, body: bytes | bytearray) -> None:
        size, held = len(body) + _OVERHEAD, self._held.get(project_id, 0)
        taken = self._bytes + size
        free = self._most_bytes - taken
        if free < 0 or held > SHARE * free:
            self._dropped[deployment_id] += 1
            self._complain("the disk takes metrics too slowly, so some were dropped")
            return
        self._bytes = taken
        self._held[project_id] = held + size
        if not self._waiting:
            self._told.set()
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
        """How many rows of a deployment had no room, since the gateway started."""
        return self._dropped[deployment_id]

    async def run(self, examine: Examine | None = None) -> None:
        """Writes what is told, until it is cancelled."""
        while True:
            await self._told.wait()
            await trio.sleep(PAUSE)
            try:
                # What comes meanwhile waits for the next turn: it would else be written as it
                # comes, a few rows at a time, and a transaction costs as much as a hundred rows.
                behind = len(self._waiting)
                while behind > 0:
                    behind -= await self._write(examine)
            except store.StoreFailed as error:
                self._complain(f"cannot write metrics, will try again: {error}")
                await trio.sleep(_RETRY)
            if not self._waiting:
                self._told = trio.Event()

    async def finish(self) -> None:
        """The last writes, when nobody tells any more and `run` has ended."""
        try:
            with trio.move_on_after(_PATIENCE, shield=True):
                while self._waiting:
                    await self._write()
        except store.StoreFailed as error:
            logger.error("%s", error)
        if self._waiting:
            logger.error("lost the metrics of %d predictions", len(self._waiting))

    async def flush(self) -> None:
        """Returns when what was told before is written, or the disk takes nothing."""
        with trio.move_on_after(_RETRY):
            behind = len(self._waiting)
            before = self._recorded + self._refused
            while self._recorded + self._refused < before + behind:
                await self._written.wait()

    async def _write(self, examine: Examine | None = None) -> int:
        """Writes what is next, and returns how many rows that was. Raises StoreFailed."""
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
        # From here on, until it is out of the list, there is no checkpoint.
        del self._waiting[: len(batch)]
        for project_id, _, body in batch:
            self._give_back(project_id, len(body) + _OVERHEAD)
        self._recorded += len(batch) - refused
        self._refused += refused
        self._refused_values += refused_values
        if refused:
            self._complain("a model told something that is no measurement")
        self._written.set()
        self._written = trio.Event()
        return len(batch)

    async def _store(self, rows: dict[str, list[MetricRecord]]) -> None:
        """Writes rows, once there is room for them. Raises StoreFailed."""
        written = None
        while written is None:
            written = await self._database.write(
                store.metrics.append, rows, limit=self._limit(), now_ms=self._clock.now_ms()
            )
            if written is None:
                await trio.sleep(PAUSE)

    def _give_back(self, project_id: str, size: int) -> None:
        self._bytes -= size
        self._held[project_id] -= size
        if not self._held[project_id]:
            del self._held[project_id]

    def _next(self) -> list[tuple[str, str, bytes | bytearray]]:
        """What is written next: so many rows, or fewer where they are large."""
        batch = self._waiting[:_MOST_ROWS]
        size, most = 0, min(_MOST_AT_ONCE, self._limit() // _PART)
        for number, (_, _, body) in enumerate(batch):
            size += len(body)
            if size > most:
                return batch[: max(1, number)]
        return batch

    def _complain(self, about: str) -> None:
        now = trio.current_time()
        if now - self._complained > _SILENCE:
            self._complained = now
            state = self.state()
            told = (about, state.dropped, state.refused, state.waiting)
            logger.warning("%s (dropped %d, refused %d, waiting %d)", *told)
