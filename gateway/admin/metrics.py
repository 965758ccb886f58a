"""/metrics: what models told of their predictions, and what was found out later.

Rows are spelled as the SDK's `read_metrics` gives them, ascending by start. They go out as they
come from the store, some at a time, so that a window may be as large as it is.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from quart import Response, request

from gateway.admin.metric_export import FORMATS, NotInstalled, RowFormatter, TooManyKeys, as_table
from gateway.admin.router import Router
from gateway.admin.schemas import Json, Metrics
from gateway.control import Control
from gateway.control.audit.audit_log import annotate
from gateway.control.metrics.measurements import LAST_MS
from gateway.control.metrics.metrics import MetricTarget, Noun, Window
from gateway.errors import Refusal
from gateway.identity.principal import is_allowed, require
from store import NotFound, StoredMetricRecord
from workers.sizes import MIB

NOUNS: dict[str, Noun] = {
    "model_deployment_crn": "deployment",
    "model_build_crn": "build",
    "model_crn": "model",
}
_DEFAULT_PAGE, MOST_ROWS = 1000, 10_000
# A page ends early where its rows are large.
_MOST_BYTES = 8 * MIB


class DelayedMetrics(msgspec.Struct, kw_only=True):
    prediction_uuid: str
    metrics: Metrics


class AggregateMetrics(msgspec.Struct, kw_only=True):
    """Times in milliseconds of Unix time; unless given, the end is now and the start the end."""

    model_deployment_crn: str
    metrics: Metrics
    start_timestamp_ms: int | None = None
    end_timestamp_ms: int | None = None


def add_routes(routing: Router, control: Control) -> None:
    directory, metrics = control.context.accounts, control.metrics

    async def subject(noun: Noun, name: str) -> MetricTarget:
        """Raises NotFound also for what whoever asks may not see."""
        found = await metrics.subject(noun, name)
        if not is_allowed(directory, "project.view", found.project_id):
            raise NotFound(noun, name)
        return found

    async def asked() -> tuple[Window, RowFormatter]:
        given = [(name, request.args[name]) for name in NOUNS if request.args.get(name)]
        if len(given) != 1:
            raise Refusal("argument.invalid", f"give one of {', '.join(NOUNS)}")
        [(name, value)] = given
        window = Window(
            await subject(NOUNS[name], value),
            _time("start_timestamp_ms", 0),
            _time("end_timestamp_ms", LAST_MS),
            _token(),
        )
        return window, RowFormatter(control.context.workspace, window.subject.sources)

    async def show() -> Response:
        window, spelling = await asked()
        most = _page_size()
        rows = _page(metrics.rows(window), spelling, most)
        return Response(rows, content_type="application/json")

    async def export() -> Response:
        kind = request.args.get("format", "jsonl")
        if kind not in FORMATS:
            raise Refusal("argument.invalid", f"format: {kind!r} is none of {', '.join(FORMATS)}")
        window, spelling = await asked()
        try:
            table = await as_table(kind, lambda: metrics.rows(window), spelling)
        except NotInstalled as error:
            raise Refusal("feature.unsupported", str(error), advice=error.advice) from None
        except TooManyKeys as error:
            raise Refusal("argument.invalid", str(error), advice=error.advice) from None
        response = Response(table, content_type=FORMATS[kind])
        response.headers["Content-Disposition"] = f'attachment; filename="metrics.{kind}"'
        return response

    async def delay(asked: DelayedMetrics) -> Json:
        project_id = await metrics.project_of(asked.prediction_uuid)
        if not is_allowed(directory, "project.view", project_id):
            raise NotFound("prediction", asked.prediction_uuid)
        require(directory, "metrics.add", project_id)
        annotate(f"project {project_id}")
        await metrics.merge_delayed(asked.prediction_uuid, asked.metrics)
        return {}

    async def aggregate(asked: AggregateMetrics) -> Json:
        found = await subject("deployment", asked.model_deployment_crn)
        require(directory, "metrics.add", found.project_id)
        annotate(f"project {found.project_id}")
        await metrics.add_aggregate(
            asked.model_deployment_crn,
            asked.metrics,
            asked.start_timestamp_ms,
            asked.end_timestamp_ms,
        )
        return {}

    routing.add(
        "GET",
        "/metrics",
        "any",
        "what was told of predictions, by start",
        show,
        streams=True,
    )
    routing.add(
        "GET",
        "/metrics/export",
        "any",
        "the same as a file: jsonl, csv, parquet",
        export,
        streams=True,
    )
    routing.add(
        "POST",
        "/metrics/delayed",
        "any",
        "add to a prediction what became known later",
        delay,
        DelayedMetrics,
        action="metrics.delay",
        often=True,
    )
    routing.add(
        "POST",
        "/metrics/aggregate",
        "any",
        "metrics of many predictions of a deployment",
        aggregate,
        AggregateMetrics,
        action="metrics.aggregate",
        often=True,
    )


async def _page(
    batches: AsyncGenerator[list[StoredMetricRecord]], spelling: RowFormatter, most: int
) -> AsyncIterator[bytes]:
    """`{"metrics":[...],"next_page_token":""}`, some rows at a time."""
    count = size = 0
    so_far = token = ""
    yield b'{"metrics":['
    async with aclosing(batches):
        async for rows in batches:
            if count == most or size >= _MOST_BYTES:
                token = so_far
                break
            shown = rows[: most - count]
            told = b",".join([spelling.json(row) for row in shown])
            yield b"," + told if count else told
            count, size = count + len(shown), size + len(told)
            so_far = f"{shown[-1].start_ms}-{shown[-1].number}"
            if len(shown) < len(rows):
                token = so_far
                break
    yield b'],"next_page_token":' + msgspec.json.encode(token) + b"}"


def _time(name: str, default: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,16}", text) or int(text) > LAST_MS:
        raise Refusal("argument.invalid", f"{name}: {text!r} is no time in milliseconds")
    return int(text)


def _page_size() -> int:
    text = request.args.get("page_size", str(_DEFAULT_PAGE))
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise Refusal("argument.invalid", f"page_size: {text!r} is no number from 1 on")
    return min(int(text), MOST_ROWS)


def _token() -> tuple[int, int] | None:
    text = request.args.get("page_token", "")
    if not text:
        return None
    if not (match := re.fullmatch("([0-9]{1,16})-([0-9]{1,18})", text)):
        raise Refusal("argument.invalid", f"page_token: {text!r} is none that we gave")
    return int(match[1]), int(match[2])
