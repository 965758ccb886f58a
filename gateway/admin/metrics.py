"""/metrics: what models recorded of their predictions, and what became known later.

Rows have the form of the SDK's `read_metrics` and ascend by start. They are sent in pieces as the
store reads them, so that a window may be of any size.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

import msgspec
from quart import Response

from gateway.admin.metric_export import FORMATS, NotInstalled, RowFormatter, TooManyKeys, as_table
from gateway.admin.metric_windows import WINDOW, MetricWindows
from gateway.admin.routing import route
from gateway.admin.routing.parameters import choice, limit
from gateway.admin.schemas import AnyJson, Json
from gateway.control import Control
from gateway.control.audit.audit_log import annotate
from gateway.control.metrics.windows import Window
from gateway.control.records import NotFound, StoredMetricRecord
from gateway.errors import Refusal
from gateway.identity.principal import is_allowed, require
from workers.sizes import MIB

_DEFAULT_PAGE, MAX_ROWS = 1000, 10_000
# A page ends early where its rows are large.
_MAX_BYTES = 8 * MIB
Metrics = Annotated[dict[str, AnyJson], msgspec.Meta(max_length=1000)]


class DelayedMetrics(msgspec.Struct, kw_only=True):
    prediction_uuid: str
    metrics: Metrics


class AggregateMetrics(msgspec.Struct, kw_only=True):
    """Times are milliseconds of Unix time. Without an end it is now; without a start it is the
    end."""

    model_deployment_crn: str
    metrics: Metrics
    start_timestamp_ms: int | None = None
    end_timestamp_ms: int | None = None


class MetricRoutes:
    def __init__(self, control: Control) -> None:
        self._metrics = control.metrics
        self._accounts = control.accounts
        self._windows = MetricWindows(control)
        self._workspace = control.instance_id

    @route.get(
        "/metrics",
        "any",
        "list the metrics of predictions, by start",
        query=(*WINDOW, "page_size", "page_token"),
        streams=True,
    )
    async def list(self) -> Response:
        window, formatter = await self._window()
        most = limit("page_size", _DEFAULT_PAGE, least=1, most=MAX_ROWS)
        rows = _page(self._metrics.rows(window), formatter, most)
        return Response(rows, content_type="application/json")

    @route.get(
        "/metrics/latest",
        "any",
        "list the latest predictions with their metrics, or the latest aggregates",
        query=(*WINDOW, "of", "page_size", "page_token"),
        streams=True,
    )
    async def latest(self) -> Response:
        aggregates = choice("of", ("predictions", "aggregates"), "predictions") == "aggregates"
        window, formatter = await self._window()
        most = limit("page_size", _DEFAULT_PAGE, least=1, most=MAX_ROWS)
        newest = self._metrics.newest(window, aggregates=aggregates)
        rows = _page(newest, formatter, most, version=window.subject.version)
        return Response(rows, content_type="application/json")

    @route.get(
        "/metrics/export",
        "any",
        "export metrics as a file: jsonl, json, csv or parquet",
        query=(*WINDOW, "format"),
        streams=True,
    )
    async def export(self) -> Response:
        kind = choice("format", tuple(FORMATS), "jsonl")
        window, formatter = await self._window()
        try:
            table = await as_table(kind, lambda: self._metrics.rows(window), formatter)
        except NotInstalled as error:
            raise Refusal("feature.unsupported", str(error), advice=error.advice) from None
        except TooManyKeys as error:
            raise Refusal("argument.invalid", str(error), advice=error.advice) from None
        response = Response(table, content_type=FORMATS[kind])
        response.headers["Content-Disposition"] = f'attachment; filename="metrics.{kind}"'
        return response

    @route.post(
        "/metrics/delayed",
        "any",
        "add metrics to a prediction afterwards",
        audit="metrics.delay",
        counted=True,
    )
    async def delay(self, body: DelayedMetrics) -> Json:
        project_id = await self._metrics.project_of(body.prediction_uuid)
        if not is_allowed(self._accounts, "project.view", project_id):
            raise NotFound("prediction", body.prediction_uuid)
        require(self._accounts, "metrics.add", project_id)
        annotate(f"project {project_id}")
        await self._metrics.merge_delayed(body.prediction_uuid, body.metrics)
        return {}

    @route.post(
        "/metrics/aggregate",
        "any",
        "add metrics of many predictions of a deployment",
        audit="metrics.aggregate",
        counted=True,
    )
    async def aggregate(self, body: AggregateMetrics) -> Json:
        target = await self._windows.target("deployment", body.model_deployment_crn)
        require(self._accounts, "metrics.add", target.project_id)
        annotate(f"project {target.project_id}")
        await self._metrics.add_aggregate(
            body.model_deployment_crn,
            body.metrics,
            body.start_timestamp_ms,
            body.end_timestamp_ms,
        )
        return {}

    async def _window(self) -> tuple[Window, RowFormatter]:
        window = await self._windows.window()
        return window, RowFormatter(self._workspace, window.subject.sources)


async def _page(
    batches: AsyncGenerator[list[StoredMetricRecord]],
    formatter: RowFormatter,
    most: int,
    version: str = "",
) -> AsyncIterator[bytes]:
    """`{"metrics":[...],"next_page_token":""}`, some rows at a time; with a `version` this, too."""
    count = size = 0
    last = token = ""
    yield b'{"metrics":['
    async with aclosing(batches):
        async for rows in batches:
            if count == most or size >= _MAX_BYTES:
                token = last
                break
            shown = rows[: most - count]
            encoded = b",".join([formatter.json(row) for row in shown])
            yield b"," + encoded if count else encoded
            count, size = count + len(shown), size + len(encoded)
            last = f"{shown[-1].start_ms}-{shown[-1].number}"
            if len(shown) < len(rows):
                token = last
                break
    yield b'],"next_page_token":' + msgspec.json.encode(token)
    yield b',"version":' + msgspec.json.encode(version) + b"}" if version else b"}"
