"""Metrics of predictions: tracked with them, added later, read over a window of time."""

from predictd_inside.sdk.development import (  # type: ignore[import-not-found]
    dev_model_build_crn,
    dev_model_crn,
    dev_model_deployment_crn,
)
from predictd_inside.sdk.experiments import track_file  # type: ignore[import-not-found]
from predictd_inside.sdk.metrics import (  # type: ignore[import-not-found]
    read_metrics,
    track_aggregate_metrics,
    track_delayed_metrics,
)
from predictd_inside.sdk.models import track_metric  # type: ignore[import-not-found]

__all__ = [
    "dev_model_build_crn",
    "dev_model_crn",
    "dev_model_deploy_crn",
    "dev_model_deployment_crn",
    "read_metrics",
    "track_aggregate_metrics",
    "track_delayed_metrics",
    "track_file",
    "track_metric",
    "track_metrics",
]

dev_model_deploy_crn = dev_model_deployment_crn
track_metrics = track_metric
