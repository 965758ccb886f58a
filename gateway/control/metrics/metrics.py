"""Metrics of predictions: read, completed later, and deleted in time.

Metric records of replicas arrive by `metrics_writer.py`. A reader sees every record that arrived
before its request.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial

import aiosqlite
import msgspec
import trio

import store
from gateway.control.metrics.analysis import MetricAnalysis
from gateway.control.metrics.measurements import LAST_MS, MOST_KEYS
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.metrics.retention_clock import RetentionClock
from gateway.control.metrics.windows import MetricTarget, Noun, Window
from gateway.control.runtime_settings import RuntimeSettings
from gateway.crn import crn
from gateway.errors import Refusal
from store import Database, MetricRecord, NotFound, StoredMetricRecord
from workers.sizes import MIB

# Rows are read in batches of about so many bytes, as far as the last batch predicts the next.
_AT_ONCE = 2 * MIB
_FIRST_ROWS, _MOST_ROWS, _ROW_BYTES = 50, 500, 100
# Seconds between two checks for what is too much, and between two transactions of one check.
_PERIOD = 60.0
_PAUSE = 0.01
# Of one prediction: as much as a model may send for it, and as a request may add. To merge them
# holds Python's lock for less than a millisecond.
MOST_OF_ONE = 320 * 1024
_DAY_MS = 86_400_000.0

logger = logging.getLogger(__name__)


class Metrics:
    """All metrics of all predictions."""

    def __init__(
        self,
        *,
        database: Database,
        metrics_writer: MetricsWriter,
        clock: RetentionClock,
        settings: RuntimeSettings,
        instance_id: str,
    ) -> None:
        self._database = database
        self._metrics_writer = metrics_writer
        self._clock = clock
        self._settings = settings
        self._instance_id = instance_id
        self.analysis = MetricAnalysis(database)

    async def subject(self, noun: Noun, name: str) -> MetricTarget:
        """The target with this crn. Raises NotFound."""
        identifier = name.rpartition("/")[2]
        if not identifier or name != crn(self._instance_id, identifier):
            raise NotFound(noun, name)
        await self._metrics_writer.flush()
        sources = await self._database.read(store.metrics.series_of, noun, identifier)
        try:
            if sources:  # its build may be gone
                identifier = sources[0].model_id
            elif noun == "deployment":
                identifier = (await self._database.read(store.deployments.get, identifier)).model_id
            elif noun == "build":
                identifier = (await self._database.read(store.builds.get, identifier)).model_id
            model = await self._database.read(store.models.get, identifier)
        except NotFound:
            raise NotFound(noun, name) from None
        version = self._metrics_writer.versions.of(sources)
        return MetricTarget(model.project_id, sources, version)

    def rows(self, window: Window) -> AsyncGenerator[list[StoredMetricRecord]]:
        """The rows of a window, ascending by start time, in batches."""
        return self._batches(store.metrics.window, window)

    def newest(
        self, window: Window, *, aggregates: bool
    ) -> AsyncGenerator[list[StoredMetricRecord]]:
        """The predictions of a window, or its aggregates, descending by start time, in batches."""
        read = partial(store.metrics.newest, aggregates=aggregates)
        return self._batches(read, window)

    async def _batches(
        self, read: Callable[..., Awaitable[list[StoredMetricRecord]]], window: Window
    ) -> AsyncGenerator[list[StoredMetricRecord]]:
        sources = [source.number for source in window.subject.sources]
        after, most = window.after, _FIRST_ROWS
        while rows := await self._database.read(
            read,
            sources,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            after=after,
            most=most,
        ):
            yield rows
            after = rows[-1].start_ms, rows[-1].number
            size = sum(len(row.metrics) for row in rows) // len(rows)
            most = max(1, min(_MOST_ROWS, _AT_ONCE // (size + _ROW_BYTES)))

    async def project_of(self, uuid: str) -> str:
        """The id of the project whose model made a prediction. Raises NotFound."""
        await self._metrics_writer.flush()
        source = await self._database.read(store.metrics.series_of_prediction, uuid)
        try:
            return (await self._database.read(store.models.get, source.model_id)).project_id
        except NotFound:
            raise NotFound("prediction", uuid) from None

    async def merge_delayed(self, uuid: str, metrics: Mapping[str, object]) -> None:
        """Adds metrics to those of a prediction. Raises NotFound, or Refusal if they would become
        too large."""
        await self._make_room()
        deployment_id = await self._database.write(_merge, uuid, metrics, self._limit)
        self._metrics_writer.versions.changed([deployment_id])

    async def add_aggregate(
        self,
        deployment_crn: str,
        metrics: Mapping[str, object],
        start_ms: int | None,
        end_ms: int | None,
    ) -> None:
        """Adds metrics of many predictions, over a window. The default of its end is now, of its
        start its end. Raises Refusal; NotFound if the deployment is deleted meanwhile."""
        end = time.time_ns() // 1_000_000 if end_ms is None else end_ms
        start = end if start_ms is None else start_ms
        if not 0 <= start <= end <= LAST_MS:
            text = f"start_timestamp_ms: from {start} to {end} is no span of time"
            raise Refusal("argument.invalid", text)
        text = msgspec.json.encode(metrics).decode()
        row = MetricRecord(uuid="", start_ms=start, end_ms=end, metrics=text)
        deployment_id = deployment_crn.rpartition("/")[2]
        rows = {deployment_id: [row]}
        now_ms = self._clock.now_ms()
        await self._make_room()
        if not await self._database.write(_append, rows, self._limit, now_ms):
            raise NotFound("deployment", deployment_crn)
        self._metrics_writer.versions.changed([deployment_id])

    async def _make_room(self) -> None:
        """Deletes the oldest rows until the rest fits, in short transactions: the limit may have
        been lowered. The transaction that adds a row makes space for that row itself."""

        async def turn() -> bool:
            return not await self._database.write_if_space(
                store.retention.free_space, {}, self._limit
            )

        await _in_turns(turn)

    @property
    def _limit(self) -> int:
        return self._settings.current.metrics_max_size

    async def size(self) -> dict[str, int]:
        """The number of rows and their bytes."""
        rows, size = await self._database.read(store.metrics.totals)
        return {"rows": rows, "bytes": size}

    async def watch(self) -> None:
        """Deletes rows that are too old, too many, or of deleted models, and returns their space
        to the disk. Never returns."""
        while True:
            try:
                await self.delete_expired()
            except store.StoreFailed as error:
                logger.warning("metrics.delete_failed: %s", error)
            await trio.sleep(_PERIOD)

    async def delete_expired(self) -> None:
        """One check of `watch`. Raises StoreFailed."""
        database = self._database
        age_ms = int(self._settings.current.metrics_retention_days * _DAY_MS)
        oldest = self._clock.now_ms() - age_ms
        await _in_turns(partial(database.write, store.retention.delete_orphans))
        await _in_turns(partial(database.write, store.retention.delete_old, oldest))
        await self._make_room()
        await _in_turns(database.shrink)


async def _in_turns(turn: Callable[[], Awaitable[object]]) -> None:
    """Repeats `turn`, with a pause between two, while it reports that more is to be done."""
    more = await turn()
    while more:
        await trio.sleep(_PAUSE)
        more = await turn()


async def _append(
    connection: aiosqlite.Connection, rows: dict[str, list[MetricRecord]], limit: int, now_ms: int
) -> int:
    while (
        written := await store.metrics.append(connection, rows, limit=limit, now_ms=now_ms)
    ) is None:
        pass  # some rows were deleted to make space
    return written


async def _merge(
    connection: aiosqlite.Connection, uuid: str, added: Mapping[str, object], limit: int
) -> str:
    """Returns the id of the deployment. Raises Refusal, which undoes the merge: one row must not
    displace all others."""
    while (merged := await store.metrics.merge(connection, uuid, added, limit=limit)) is None:
        pass
    deployment_id, size, keys = merged
    if keys > 2 * MOST_KEYS:
        text = f"metrics: of one prediction more than {2 * MOST_KEYS:,} keys are not kept"
        raise Refusal("argument.invalid", text)
    if size > MOST_OF_ONE:
        text = f"metrics: of one prediction more than {MOST_OF_ONE:,} bytes are not kept"
        raise Refusal("argument.invalid", text)
    return deployment_id
