"""Metrics of past predictions: reads them, and adds to them when the truth is known.

With `dev=True` the functions use this session's memory, else the gateway, which stores the metrics
of all models.
"""

from __future__ import annotations

import json
import time

from ..encode import encode
from ..tracking import storable
from . import development
from .gateway import Gateway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PAGE = 10_000  # the most rows of one answer of the gateway


def read_metrics(
    model_deployment_crn: str | None = None,
    start_timestamp_ms: int | None = None,
    end_timestamp_ms: int | None = None,
    model_crn: str | None = None,
    model_build_crn: str | None = None,
    dev: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """The metrics of a deployment, of a build or of a model, as {"metrics": [row, ...]}.

    Name at least one of the three by its crn; with several, rows must belong to all. The window
    takes the rows that begin in it, both ends included; a missing end leaves it open on that side.
    Rows are sorted by their beginning:

    {"modelDeploymentCrn", "modelBuildCrn", "modelCrn", "startTimeStampMs", "endTimeStampMs",
     "predictionUuid", "metrics": {key: value, ...}}

    A row of `track_aggregate_metrics` has the predictionUuid "". With dev=True the rows are this
    session's, by `dev_model_crn`, `dev_model_build_crn` or `dev_model_deployment_crn`.

    Raises ValueError where no crn is given, RuntimeError where the gateway refuses.
    """
    # The narrowest first: the query names it.
    names = {
        "model_deployment_crn": model_deployment_crn,
        "model_build_crn": model_build_crn,
        "model_crn": model_crn,
    }
    given = [(name, crn) for name, crn in names.items() if crn]
    if not given:
        raise ValueError(f"read_metrics: give one of {', '.join(names)}")
    start = _milliseconds("start_timestamp_ms", start_timestamp_ms)
    end = _milliseconds("end_timestamp_ms", end_timestamp_ms)
    (name, crn), *others = given
    if dev:
        rows = development.read(_FIELDS[name], crn, start, end)
    else:
        query = {name: crn, "start_timestamp_ms": start, "end_timestamp_ms": end}
        rows = _read_pages({**query, "page_size": _PAGE})
    return {"metrics": [r for r in rows if all(r[_FIELDS[name]] == crn for name, crn in others)]}


def track_delayed_metrics(metrics: dict[str, Any], prediction_uuid: str, dev: bool = False) -> None:
    """Adds metrics to a past prediction: the truth, say, when it is known.

    `prediction_uuid` is the "uuid" in the result of the decorated function. The metrics are added
    to the prediction's; a key that exists already gets the new value.

    Raises TypeError or ValueError for values without a JSON form, RuntimeError where the gateway
    knows no such prediction.
    """
    said = _said("track_delayed_metrics", metrics)
    if not isinstance(prediction_uuid, str):
        kind = type(prediction_uuid).__name__
        raise TypeError(f"track_delayed_metrics: prediction_uuid is of type {kind!r}, no str")
    if dev:
        development.merge(said, prediction_uuid)
        return
    body = {"prediction_uuid": prediction_uuid, "metrics": said}
    Gateway.of_environment().post("/api/v2/metrics/delayed", body)


def track_aggregate_metrics(
    metrics: dict[str, Any],
    start_timestamp_ms: int | None = None,
    end_timestamp_ms: int | None = None,
    model_deployment_crn: str | None = None,
    dev: bool = False,
) -> None:
    """Stores metrics of a deployment over a window of time, such as its accuracy over a day.

    They are a row of their own, whose predictionUuid is "". The default end is now; the default
    beginning is the end. Needs `model_deployment_crn`, except with dev=True.

    Raises TypeError or ValueError for unfit values, RuntimeError where the gateway refuses.
    """
    said = _said("track_aggregate_metrics", metrics)
    end = _milliseconds("end_timestamp_ms", end_timestamp_ms)
    end = time.time_ns() // 1_000_000 if end is None else end
    start = _milliseconds("start_timestamp_ms", start_timestamp_ms)
    start = end if start is None else start
    if start > end:
        raise ValueError(f"track_aggregate_metrics: the window begins at {start}, after {end}")
    if dev:
        development.aggregate(said, start, end)
        return
    if not model_deployment_crn:
        raise ValueError("track_aggregate_metrics: give model_deployment_crn, or dev=True")
    body = {
        "metrics": said,
        "start_timestamp_ms": start,
        "end_timestamp_ms": end,
        "model_deployment_crn": model_deployment_crn,
    }
    Gateway.of_environment().post("/api/v2/metrics/aggregate", body)


def _read_pages(query: dict[str, object]) -> list[dict[str, Any]]:
    gateway = Gateway.of_environment()
    rows: list[dict[str, Any]] = []
    while True:
        page = gateway.get("/api/v2/metrics", query)
        rows += page["metrics"]
        if not page.get("next_page_token"):
            return rows
        query["page_token"] = page["next_page_token"]


_FIELDS = {
    "model_deployment_crn": "modelDeploymentCrn",
    "model_build_crn": "modelBuildCrn",
    "model_crn": "modelCrn",
}


def _said(function: str, metrics: object) -> dict[str, Any]:
    """Metrics as JSON values. Raises TypeError or ValueError naming the function."""
    if not isinstance(metrics, dict):
        raise TypeError(f"{function}: metrics are of type {type(metrics).__name__!r}, no dict")
    for key in metrics:
        if not isinstance(key, str):
            kind = type(key).__name__
            raise TypeError(f"{function}: the key {key!r} is of type {kind!r}, no str")
    try:
        said: dict[str, Any] = json.loads(storable(encode(metrics)))
    except TypeError as problem:
        raise TypeError(f"{function}: {problem}") from None
    except ValueError as problem:
        raise ValueError(f"{function}: {problem}") from None
    return said


def _milliseconds(name: str, moment: Any) -> int | None:
    """A given time (an int, `time.time() * 1000`, a number of numpy's) as an int."""
    if moment is None:
        return None
    try:
        return int(moment)
    except (TypeError, ValueError, OverflowError):
        kind = type(moment).__name__
        raise TypeError(f"{name}: {moment!r} of type {kind!r} is no number of ms") from None
