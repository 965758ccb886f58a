"""The decorators of a model's function, and how to call a deployed model."""

from predictd_inside.failures import InvalidRequest  # type: ignore[import-not-found]
from predictd_inside.sdk.calls import call_model  # type: ignore[import-not-found]
from predictd_inside.sdk.models import cml_model, model_metrics  # type: ignore[import-not-found]

__all__ = ["InvalidRequest", "call_model", "cml_model", "model_metrics"]
