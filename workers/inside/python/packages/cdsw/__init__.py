"""The library for CDSW's models and experiments, as predictd offers it.

In a model: `model_metrics`, `track_metric`, `InvalidRequest`. For its predictions: `read_metrics`,
`track_delayed_metrics`, `track_aggregate_metrics`. In an experiment: `track_metric`, `track_file`.
To call a model: `call_model`. In a session the metrics functions take dev=True.
"""

from predictd_inside.failures import InvalidRequest  # type: ignore[import-not-found]
from predictd_inside.precedence import defer_to  # type: ignore[import-not-found]
from predictd_inside.sdk.calls import call_model, get_auth  # type: ignore[import-not-found]
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
from predictd_inside.sdk.models import (  # type: ignore[import-not-found]
    cml_model,
    model_metrics,
    track_metric,
)
from predictd_inside.sdk.workers import (  # type: ignore[import-not-found]
    await_workers,
    launch_workers,
    list_workers,
    stop_workers,
)

__all__ = [
    "InvalidRequest",
    "await_workers",
    "call_model",
    "cml_model",
    "dev_model_build_crn",
    "dev_model_crn",
    "dev_model_deploy_crn",
    "dev_model_deployment_crn",
    "get_auth",
    "launch_workers",
    "list_workers",
    "model_metrics",
    "read_metrics",
    "stop_workers",
    "track_aggregate_metrics",
    "track_delayed_metrics",
    "track_file",
    "track_metric",
    "track_metrics",
]

dev_model_deploy_crn = dev_model_deployment_crn
track_metrics = track_metric

defer_to(__name__)
