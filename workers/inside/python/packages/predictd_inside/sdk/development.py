"""Metrics of a session (`dev=True`): kept in this process's memory, and lost at its end.

Rows are as from the gateway, with three crns that mean this session.
"""

from __future__ import annotations

import json
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..tracking import PredictionMetrics

    Row = dict[str, Any]

dev_model_crn = "crn:cdp:ml:::workspace:dev/model"
dev_model_build_crn = "crn:cdp:ml:::workspace:dev/model-build"
dev_model_deployment_crn = "crn:cdp:ml:::workspace:dev/model-deployment"

_rows: list[Row] = []
_lock = threading.Lock()


def keep(page: PredictionMetrics) -> None:
    """Adds the row of a prediction."""
    _add(json.loads(page.body()))


def aggregate(metrics: Mapping[str, Any], start: int, end: int) -> None:
    """Adds a row for a window of time instead of a prediction."""
    _add(
        {
            "predictionUuid": "",
            "startTimeStampMs": start,
            "endTimeStampMs": end,
            "metrics": dict(metrics),
        }
    )


def merge(metrics: Mapping[str, Any], prediction_uuid: str) -> None:
    """Adds metrics to a prediction's row. Raises RuntimeError where none has that uuid."""
    with _lock:
        for row in _rows:
            if prediction_uuid and row["predictionUuid"] == prediction_uuid:
                row["metrics"].update(metrics)
                return
    raise RuntimeError(f"no prediction of this session has the uuid {prediction_uuid!r}")


def read(crn_field: str, crn: str, start: int | None, end: int | None) -> list[Row]:
    """Copies of the rows of a window, both ends included, sorted by start."""
    with _lock:
        rows = [
            {**row, "metrics": dict(row["metrics"])}
            for row in _rows
            if row[crn_field] == crn
            and (start is None or row["startTimeStampMs"] >= start)
            and (end is None or row["startTimeStampMs"] <= end)
        ]
    return sorted(rows, key=lambda row: row["startTimeStampMs"])


def _add(said: Row) -> None:
    row = {
        "modelDeploymentCrn": dev_model_deployment_crn,
        "modelBuildCrn": dev_model_build_crn,
        "modelCrn": dev_model_crn,
        **said,
    }
    with _lock:
        _rows.append(row)
