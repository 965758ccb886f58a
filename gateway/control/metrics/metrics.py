"""Metrics of predictions: asked for, added to when the truth is known, and forgotten in time.

What replicas tell arrives by `metrics_writer.py`. Whoever asks sees all that was told before.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from typing import Literal

import aiosqlite
import msgspec
import trio

import store
from gateway.control.context import ControlContext
from gateway.control.metrics.measurements import LAST_MS, MOST_KEYS
from gateway.crn import crn
from gateway.errors import Refusal
from store import MetricRecord, MetricSeries, NotFound, StoredMetricRecord
from workers.sizes import MIB

Noun = Literal["model", "build", "deployment"]

# Rows are taken from the store by so many bytes, as far as the last ones tell what is to come.
_AT_ONCE = 2 * MIB
_FIRST_ROWS, _MOST_ROWS, _ROW_BYTES = 50, 500, 100
# Between two looks at what is too much; and between two transactions in which some of it goes.
_PERIOD = 60.0
_BREATH = 0.01
# Of one prediction: as much as a model may send for it, and as a request may add. To merge them
# holds Python's lock for less than a millisecond.
MOST_OF_ONE = 320 * 1024
_DAY_MS = 86_400_000.0

logger = logging.getLogger(__name__)


class MetricTarget(msgspec.Struct, frozen=True):
    """A model, a build or a deployment that is asked about, and what has told of it."""

    project_id: str
    sources: list[MetricSeries]


class Window(msgspec.Struct, frozen=True):
    """Which rows: of what, and that start when. Both ends are in it; milliseconds."""

    subject: MetricTarget
    start_ms: int = 0
    end_ms: int = LAST_MS
    # The start and the number of the row before the first.
    after: tuple[int, int] | None = None


class Metrics:
    """All metrics of all predictions."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._database = context.database

    async def subject(self, noun: Noun, name: str) -> MetricTarget:
        """What has this crn. Raises NotFound."""
        identifier = name.rpartition("/")[2]
        if not identifier or name != crn(self._context.workspace, identifier):
            raise NotFound(noun, name)
        await self._context.metrics_writer.flush()
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
        return MetricTarget(model.project_id, sources)

    async def rows(self, window: Window) -> AsyncGenerator[list[StoredMetricRecord]]:
        """The rows of a window, ascending by start, some at a time."""
        sources = [source.number for source in window.subject.sources]
        after, most = window.after, _FIRST_ROWS
        while rows := await self._database.read(
            store.metrics.window,
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
        await self._context.metrics_writer.flush()
        source = await self._database.read(store.metrics.series_of_prediction, uuid)
        try:
            return (await self._database.read(store.models.get, source.model_id)).project_id
        except NotFound:
            raise NotFound("prediction", uuid) from None

    async def merge_delayed(self, uuid: str, metrics: Mapping[str, object]) -> None:
        """Adds what became known later to the metrics of a prediction. Raises NotFound, or Refusal
        where they would become too much."""
        await self._make_room()
        await self._database.write(_merge, uuid, metrics, self._limit)

    async def add_aggregate(
        self,
        deployment_crn: str,
        metrics: Mapping[str, object],
        start_ms: int | None,
        end_ms: int | None,
    ) -> None:
        """Keeps metrics of many predictions, over a window; it ends now, and begins at its end,
        where that is not said. Raises Refusal; NotFound for a deployment that is gone by now."""
        end = time.time_ns() // 1_000_000 if end_ms is None else end_ms
        start = end if start_ms is None else start_ms
        if not 0 <= start <= end <= LAST_MS:
            text = f"start_timestamp_ms: from {start} to {end} is no span of time"
            raise Refusal("argument.invalid", text)
        told = msgspec.json.encode(metrics).decode()
        row = MetricRecord(uuid="", start_ms=start, end_ms=end, metrics=told)
        told_of = {deployment_crn.rpartition("/")[2]: [row]}
        now_ms = self._context.retention_clock.now_ms()
        await self._make_room()
        if not await self._database.write(_append, told_of, self._limit, now_ms):
            raise NotFound("deployment", deployment_crn)

    async def _make_room(self) -> None:
        """Sees to it that what is there fits, in bounded turns: the limit may have been lowered.
        What one row takes beside goes in its own transaction, which is its deed's."""

        async def turn() -> bool:
            return not await self._database.write_if_space(
                store.retention.free_space, {}, self._limit
            )

        await _in_turns(turn)

    @property
    def _limit(self) -> int:
        return self._context.settings.metrics_max_size

    async def size(self) -> dict[str, int]:
        """How much is kept."""
        rows, size = await self._database.read(store.metrics.totals)
        return {"rows": rows, "bytes": size}

    async def watch(self) -> None:
        """Forgets what is too old, too much, or of models that are gone, and gives the disk back
        what that took."""
        while True:
            try:
                await self._forget()
            except store.StoreFailed as error:
                logger.warning("cannot forget old metrics: %s", error)
            await trio.sleep(_PERIOD)

    async def _forget(self) -> None:
        database = self._database
        age_ms = int(self._context.settings.metrics_retention_days * _DAY_MS)
        oldest = self._context.retention_clock.now_ms() - age_ms
        await _in_turns(partial(database.write, store.retention.delete_orphans))
        await _in_turns(partial(database.write, store.retention.delete_old, oldest))
        await self._make_room()
        await _in_turns(database.shrink)


async def _in_turns(turn: Callable[[], Awaitable[object]]) -> None:
    """Takes turns, with a pause between two, as long as there is more to do."""
    more = await turn()
    while more:
        await trio.sleep(_BREATH)
        more = await turn()


async def _append(
    connection: aiosqlite.Connection, told: dict[str, list[MetricRecord]], limit: int, now_ms: int
) -> int:
    while (
        written := await store.metrics.append(connection, told, limit=limit, now_ms=now_ms)
    ) is None:
        pass  # some went to make room
    return written


async def _merge(
    connection: aiosqlite.Connection, uuid: str, found_out: Mapping[str, object], limit: int
) -> None:
    """Raises Refusal, which undoes it: one row must not push out all others."""
    while (merged := await store.metrics.merge(connection, uuid, found_out, limit=limit)) is None:
        pass
    size, keys = merged
    if keys > 2 * MOST_KEYS:
        text = f"metrics: of one prediction more than {2 * MOST_KEYS:,} keys are not kept"
        raise Refusal("argument.invalid", text)
    if size > MOST_OF_ONE:
        text = f"metrics: of one prediction more than {MOST_OF_ONE:,} bytes are not kept"
        raise Refusal("argument.invalid", text)
