""".../metrics: what a model has tracked about its predictions, and what became known later.

To summarise 10,000 records takes SQLite a second. An open page asks for that only when its records
have changed, which the version of the newest ones says, or when a record has left its time.
"""

import math
import time
from typing import Any
from urllib.parse import urlencode

import trio
from quart import Response

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.frames import Values, model_frame
from gateway.web.metric_charts import (
    aggregate_charts,
    cell,
    crosstab,
    first_shown,
    flattened,
    guessed_pair,
    labels_text,
    pair_charts,
    row_charts,
    value_charts,
)
from gateway.web.metric_query import MetricQuery, moment_of
from gateway.web.models import ONE
from gateway.web.routing import PageRequest, PageRouter

PATH = f"{ONE}/metrics"
_PARTS = (
    ("", "Values"),
    ("/predictions", "Predictions"),
    ("/compare", "Compare"),
    ("/aggregates", "Aggregates"),
)
_ROWS, _AGGREGATES, _COLUMNS, _DEPLOYMENTS = 50, 200, 8, 50
_LEVELS = {
    "stable": ("Stable", "good"),
    "moderate": ("Moderate", "warn"),
    "strong": ("Strong", "bad"),
}


class MetricPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "show what a model tracks, and its drift", slow=True)
    async def show(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await _frame(page, project_id, model_id, "")
        page.check_unchanged()
        query: MetricQuery = frame["query"]
        found = await page.api.get("/metrics/summary", **query.window, **query.reference_window)
        spans = _spans(found["records"]["read"])
        over = await page.api.get("/metrics/series", **query.window, spans=spans)
        by_name = {each["name"]: each for each in over["numbers"]}
        rows = []
        for value in found["values"]:
            await trio.lowlevel.checkpoint()
            rows.append(
                {
                    **value,
                    "link": query.link(value=value["name"]) + "#value",
                    "charts": row_charts(value, by_name.get(value["name"])),
                    "shares": labels_text(value),
                    "level": _LEVELS[value["drift"]["level"]] if value["drift"] else None,
                }
            )
        shown = query.value or first_shown(found["values"])
        value = next((each for each in rows if each["name"] == shown), None)
        return await self._router.reply(
            "metrics/show.html",
            page.viewer,
            **frame,
            found=found,
            rows=rows,
            shown=value,
            charts=await _charts_of(page, query, value, over, by_name) if value else [],
        )

    @routing.get(f"{PATH}/predictions", "list the latest predictions with their metrics", slow=True)
    async def predictions(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await _frame(page, project_id, model_id, "/predictions")
        page.check_unchanged()
        query: MetricQuery = frame["query"]
        token = page.query.get("page_token", "")
        refused = None
        found: dict[str, Any] = {"metrics": [], "next_page_token": ""}
        try:
            found = await page.api.get(
                "/metrics/latest", **query.window, page_size=_ROWS, page_token=token
            )
        except Refusal as error:  # a token that is none
            refused = error
        columns, rows = _table(found["metrics"])
        older = found["next_page_token"]
        return await self._router.reply(
            "metrics/predictions.html",
            page.viewer,
            **frame,
            refused=refused,
            columns=columns,
            rows=rows,
            older=query.link(frame["here_tab_path"], page_token=older) if older else "",
            first=query.link(frame["here_tab_path"]) if token else "",
        )

    @routing.get(f"{PATH}/compare", "show one tracked value against another", slow=True)
    async def compare(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await _frame(page, project_id, model_id, "/compare")
        page.check_unchanged()
        query: MetricQuery = frame["query"]
        summary = await page.api.get("/metrics/summary", **query.window)
        values = [each for each in summary["values"] if each["numbers"] or each["labels"]]
        x, y = guessed_pair(values)
        x, y = page.query.get("x", x), page.query.get("y", y)
        pairs = None
        if x and y:
            spans = _spans(summary["records"]["read"])
            pairs = await page.api.get("/metrics/pairs", **query.window, spans=spans, x=x, y=y)
        names = [each["name"] for each in values]
        names += [name for name in (x, y) if name and name not in names]
        return await self._router.reply(
            "metrics/compare.html",
            page.viewer,
            **frame,
            options=[(name, name) for name in names],
            x=x,
            y=y,
            pairs=pairs,
            charts=await trio.to_thread.run_sync(pair_charts, pairs, x, y) if pairs else [],
            cross=crosstab(pairs["cells"]) if pairs and pairs["cells"] else None,
        )

    @routing.get(f"{PATH}/aggregates", "show the metrics of many predictions over time", slow=True)
    async def aggregates(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await _frame(page, project_id, model_id, "/aggregates")
        page.check_unchanged()
        query: MetricQuery = frame["query"]
        found = await page.api.get(
            "/metrics/latest", **query.window, of="aggregates", page_size=_AGGREGATES
        )
        columns, rows = _table(found["metrics"])
        return await self._router.reply(
            "metrics/aggregates.html",
            page.viewer,
            **frame,
            columns=columns,
            rows=rows,
            charts=await trio.to_thread.run_sync(aggregate_charts, found["metrics"]),
            more=bool(found["next_page_token"]),
        )


async def _frame(page: PageRequest, project_id: str, model_id: str, part: str) -> Values:
    """What the pages have in common: the frame, the query with its options, links to export."""
    frame = await model_frame(page, project_id, model_id)
    base = f"{frame['model_base']}/metrics"
    frame["tab"] = base
    latest = await page.api.get("/metrics/latest", model_crn=frame["model"]["crn"], page_size=1)
    newest = next(iter(latest["metrics"]), None)
    frame["newest"] = moment_of(newest["startTimeStampMs"]) if newest else ""
    deployments = (
        await page.api.get(
            f"{url('projects', project_id, 'models', model_id)}/deployments",
            page_size=_DEPLOYMENTS,
            sort="-deployment_number",
        )
    )["model_deployments"]
    crns = {each["id"]: each["crn"] for each in deployments}
    query = MetricQuery(page.query, frame["model"]["crn"], crns, time.time_ns() // 1_000_000)
    page.note("window", query.window)
    export = f"{API_PREFIX}/metrics/export?"
    return {
        **frame,
        "query": query,
        "short": cell,
        "here_tab_path": base + part,
        "here_tab": query.link(base + part),
        "sub_tabs": [(query.link(base + path), label) for path, label in _PARTS],
        "deployment_options": [
            ("", "all"),
            *(
                (each["id"], f"{each['deployment_number']}, build {each['build_number']}")
                for each in deployments
            ),
        ],
        "reference_options": query.reference_options(deployments),
        "exports": [
            (export + urlencode({**query.window, "format": kind}), label)
            for kind, label in (("csv", "CSV"), ("json", "JSON"), ("jsonl", "JSON Lines"))
        ],
    }


async def _charts_of(
    page: PageRequest,
    query: MetricQuery,
    value: dict[str, Any],
    over: dict[str, Any],
    by_name: dict[str, Any],
) -> list[Any]:
    """The charts of one value. What the page has of it already is not asked again."""
    name = value["name"]
    if value["labels"]:
        spans = len(over["times"])
        over = await page.api.get("/metrics/series", **query.window, spans=spans, name=name)
    else:
        over = {**over, "numbers": [by_name[name]] if name in by_name else []}
    return await trio.to_thread.run_sync(value_charts, value, over)


def _spans(records: int) -> int:
    """Into how many spans the time of records is divided: few records leave gaps in many spans."""
    return max(10, min(60, math.isqrt(4 * records)))


def _table(records: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """The values of records as columns: as many as a table may have, those of most records."""
    flat = [(each, flattened(each["metrics"])) for each in records]
    counts: dict[str, int] = {}
    for _, values in flat:
        for name in values:
            counts[name] = counts.get(name, 0) + 1
    columns = sorted(counts, key=lambda name: -counts[name])[:_COLUMNS]
    rows = []
    for record, values in flat:
        rows.append(
            {
                "uuid": record["predictionUuid"],
                "start": moment_of(record["startTimeStampMs"]),
                "end": moment_of(record["endTimeStampMs"]),
                "ms": record["endTimeStampMs"] - record["startTimeStampMs"],
                "cells": [(name, cell(values.get(name))) for name in columns],
                "more": len(set(values) - set(columns)),
            }
        )
    return columns, rows
