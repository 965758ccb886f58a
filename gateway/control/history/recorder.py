"""Takes what the hot path has counted, and writes it: requests each second, points each 10 seconds.

The laws:

- What waits to be written is bounded. Each second at most MOST_ROWS requests are written, the
  failures first; the others are counted as not listed. Points that the disk refuses
  wait for ten minutes.
- What is lost by `kill -9` is the requests of the last second, and of the history the last 10 s.
- No turn on the loop takes a millisecond: models are looked at in batches, and text is written by
  the store's thread.

CPU, memory and GPUs are measured every 10 s, by a thread, of the replicas of the pool that serves.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from weakref import WeakKeyDictionary

import trio

import store
from gateway.control.history import points
from gateway.control.history.points import Point
from gateway.control.history.replica_usage import PoolUsage, ReplicaUsage
from gateway.control.metrics.retention_clock import RetentionClock
from gateway.control.runtime_settings import RuntimeSettings
from gateway.predictions.endpoints import Endpoint, Endpoints
from gateway.predictions.traffic import MOST_KEPT, RequestRecord
from store import Database, StoredRequest
from workers import Pool
from workers.gpus import Gpus

# Seconds between two looks.
PERIOD = 1.0
# Seconds of the finest points, and of one roll-up after the other.
STEP, ROLL_UP = store.history.FINEST, store.history.MINUTE
# Requests that are written in a second, of all models together.
MOST_ROWS = 300
# Points of so many steps wait while the disk refuses them.
_MOST_WAITING = 60
# Models between two checkpoints on the loop, and in one transaction.
_BATCH = 20
# Seconds that the last write may take, and between two warnings.
_PATIENCE = 2.0
_SILENCE = 60.0
_KEY = 8
_DAY = 86_400

logger = logging.getLogger(__name__)


class TrafficRecorder:
    """The history and the requests of all models on their way to the store."""

    def __init__(
        self,
        database: Database,
        endpoints: Endpoints,
        settings: RuntimeSettings,
        clock: RetentionClock,
        gpus: Gpus,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`clock` says which rows are old; `wall` when something happened."""
        self._database = database
        self._endpoints = endpoints
        self._settings = settings
        self._clock = clock
        self._wall = wall
        # The numbers of a pool's deployment and build.
        self._numbers: WeakKeyDictionary[Pool, tuple[int, int]] = WeakKeyDictionary()
        self._step = int(wall()) // STEP
        self._rolled_up = self._step * STEP // ROLL_UP
        # Of each model, until its next point.
        self._waiting: dict[str, int] = {}
        self._listed: Counter[str] = Counter()
        # Since the start.
        self._not_listed: Counter[str] = Counter()
        self._points: list[tuple[int, dict[str, str]]] = []
        self.usage = ReplicaUsage(gpus)
        self._turn = trio.Lock()
        self._warned = float("-inf")

    def serves(self, pool: Pool, deployment: int, build: int) -> None:
        """The pool is of the deployment and the build with these numbers."""
        self._numbers[pool] = deployment, build

    def not_listed(self, model_id: str) -> int:
        """The requests of a model that were counted and not listed, since the gateway started."""
        return self._not_listed[model_id]

    def counted(self, model_id: str) -> Point:
        """What the model's requests have counted since its last point."""
        endpoint = self._endpoints.find(model_id)
        return points.counted(endpoint.traffic) if endpoint else Point()

    async def run(self) -> None:
        """Records until it is cancelled."""
        while True:
            await trio.sleep(PERIOD)
            await self.flush()
            step = int(self._wall()) // STEP
            if step != self._step:
                async with self._turn:
                    await self._end_step(step)

    async def flush(self) -> None:
        """Writes the requests that have ended."""
        async with self._turn:
            # What is taken from the counts and not yet written would be lost.
            with trio.CancelScope(shield=True):
                await self._write_requests()

    async def finish(self) -> None:
        """The last writes, after the last request has ended."""
        with trio.move_on_after(_PATIENCE, shield=True):
            async with self._turn:
                await self._write_requests()
                await self._end_step(int(self._wall()) // STEP, measure=False)

    # Requests.

    async def _write_requests(self) -> None:
        most = self._settings.current.request_log_rows
        offset = self._wall() - trio.current_time()
        busy = []
        for endpoint in self._endpoints.all():
            traffic = endpoint.traffic
            traffic.kept = most > 0 and endpoint.model.request_log
            traffic.room = MOST_KEPT
            if endpoint.pool is not None and (waiting := endpoint.pool.waiting):
                known = self._waiting.get(endpoint.model_id, 0)
                self._waiting[endpoint.model_id] = max(known, waiting)
            if traffic.recent or traffic.failed:
                busy.append(endpoint)
        if not busy:
            return
        share = max(1, MOST_ROWS // len(busy))
        rows = dict[str, list[StoredRequest]]()
        for endpoint in busy:
            chosen = endpoint.traffic.take_requests(share)
            if not endpoint.model.request_log:
                continue
            rows[endpoint.model_id] = [self._row(each, offset) for each in chosen]
            if len(rows) % _BATCH == 0:
                await trio.lowlevel.checkpoint()
        try:
            await self._database.write_if_space(store.requests.append, rows, most)
        except store.StoreFailed as error:
            self._warn(error)
        else:
            self._listed.update({model_id: len(each) for model_id, each in rows.items()})

    def _row(self, record: RequestRecord, offset: float) -> StoredRequest:
        at, number, status, code, entered, assigned, replica, pool, caller, test = record
        deployment, build = self._numbers.get(pool, (None, None)) if pool else (None, None)
        wait = (assigned or at) - entered
        return StoredRequest(
            at_ms=int((at + offset) * 1000),
            request_id=number,
            status=status,
            code=code,
            wait_us=max(0, round(wait * 1e6)),
            service_us=max(0, round((at - assigned) * 1e6)) if assigned else None,
            replica=replica,
            deployment_number=deployment,
            build_number=build,
            key_id=caller.key_id[:_KEY] if caller else "",
            user_id=caller.user_id if caller else "",
            test=test,
        )

    # History.

    async def _end_step(self, step: int, *, measure: bool = True) -> None:
        """Writes the points of the step that has ended, and what is due once a minute."""
        at, self._step = self._step * STEP, step
        pools = [each.pool for each in self._endpoints.all() if measure and each.pool]
        usages = await self.usage.measure(pools)
        # What is taken from the counts and does not wait yet would be lost.
        with trio.CancelScope(shield=True):
            texts = await self._taken(usages)
        if texts:
            self._points = [*self._points, (at, texts)][-_MOST_WAITING:]
        try:
            await self._write_points()
            if step * STEP // ROLL_UP != self._rolled_up:
                self._rolled_up = step * STEP // ROLL_UP
                await self._once_a_minute()
        except store.StoreFailed as error:
            self._warn(error)

    async def _taken(self, usages: dict[Pool, PoolUsage]) -> dict[str, str]:
        """The points of the step, by model."""
        texts = dict[str, str]()
        for number, endpoint in enumerate(self._endpoints.all()):
            if number % _BATCH == _BATCH - 1:
                await trio.lowlevel.checkpoint()
            point = self._point(endpoint, usages)
            if not point.is_empty:
                texts[endpoint.model_id] = points.text(point)
        self._waiting.clear()
        self._listed.clear()
        return texts

    def _point(self, endpoint: Endpoint, usages: dict[Pool, PoolUsage]) -> Point:
        model_id, pool = endpoint.model_id, endpoint.pool
        point = points.taken_from(endpoint.traffic)
        if endpoint.traffic.kept:
            missing = point.requests - self._listed[model_id]
            if missing > 0:
                self._not_listed[model_id] += missing
        point.waiting = self._waiting.get(model_id, 0)
        if pool in usages:
            assert pool is not None
            usages[pool].put_into(point)
            limits, count = pool.spec.replica.limits, pool.spec.replicas
            point.gpus = pool.spec.replica.gpus * count
            point.ready, point.replicas = pool.ready, count
            point.cores_limit = limits.cpu * count / 1000
            point.memory_limit = limits.memory * count
        return point

    async def _write_points(self) -> None:
        while self._points:
            at, texts = self._points[0]
            names = list(texts)
            for first in range(0, len(names), _BATCH):
                part = {name: texts[name] for name in names[first : first + _BATCH]}
                await self._database.write_if_space(
                    store.history.append, at, part, points.merge_texts
                )
                # No checkpoint before it is out of the list: it would be counted twice.
                for name in part:
                    del texts[name]
            self._points.pop(0)

    async def _once_a_minute(self) -> None:
        """Merges points, and deletes what is no longer kept."""
        settings, now = self._settings.current, int(self._wall())
        old = self._clock.now_ms() // 1000
        before_ms = int((old - settings.request_log_days * _DAY) * 1000)
        models = [each.model_id for each in self._endpoints.all()]
        for first in range(0, len(models), _BATCH):
            batch = models[first : first + _BATCH]
            write = self._database.write_if_space
            await write(store.history.roll_up, batch, now, points.merge_texts)
            await write(store.history.delete_old, batch, min(old, now))
            await write(store.requests.delete_old, batch, settings.request_log_rows, before_ms)

    def _warn(self, error: store.StoreFailed) -> None:
        now = trio.current_time()
        if now - self._warned > _SILENCE:
            self._warned = now
            logger.warning("history.write_failed waiting=%d: %s", len(self._points), error)
