"""/metrics/summary, /metrics/series and /metrics/pairs: what the metrics of a window say together.

They are about predictions. Of a window with very many records a sample is read, and the reply says
how many records there are and how many were read.
"""

import msgspec

from gateway.admin.metric_windows import WINDOW, MetricWindows
from gateway.admin.routing import route
from gateway.admin.routing.parameters import limit, text, whole_number
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.metrics.analysis import MOST_SPANS
from gateway.control.metrics.measurements import LAST_MS
from gateway.control.metrics.windows import Window
from gateway.errors import Refusal

_REFERENCE = ("reference_start_timestamp_ms", "reference_end_timestamp_ms")
_DEFAULT_SPANS = 60


class MetricAnalysisRoutes:
    def __init__(self, control: Control) -> None:
        self._analysis = control.metrics.analysis
        self._windows = MetricWindows(control)

    @route.get(
        "/metrics/summary",
        "any",
        "show how tracked values are distributed, and their drift from a reference window",
        query=(*WINDOW, "reference_model_deployment_crn", *_REFERENCE),
    )
    async def summary(self) -> Json:
        window = await self._windows.window()
        reference = await self._reference(window)
        found = await self._analysis.summary(window, reference)
        return msgspec.structs.asdict(found)

    @route.get(
        "/metrics/series",
        "any",
        "show tracked numbers over time; with a name, also how often each label came",
        query=(*WINDOW, "name", "spans"),
    )
    async def series(self) -> Json:
        window = await self._windows.window()
        found = await self._analysis.over_time(window, _spans(), text("name"))
        return msgspec.structs.asdict(found)

    @route.get(
        "/metrics/pairs",
        "any",
        "show two tracked values beside each other, such as predictions and their truth",
        query=(*WINDOW, "x", "y", "spans"),
    )
    async def pairs(self) -> Json:
        for name in ("x", "y"):
            if not text(name):
                raise Refusal("argument.invalid", f"{name}: no value is named")
        window = await self._windows.window()
        found = await self._analysis.pairs(window, _spans(), text("x"), text("y"))
        return msgspec.structs.asdict(found)

    async def _reference(self, window: Window) -> Window | None:
        """The window to compare with: of another deployment, at another time, or both."""
        deployment = text("reference_model_deployment_crn")
        if not deployment and not any(text(name) for name in _REFERENCE):
            return None
        subject = window.subject
        if deployment:
            subject = await self._windows.target("deployment", deployment)
        start, end = _REFERENCE
        return Window(
            subject,
            whole_number(start, 0, most=LAST_MS),
            whole_number(end, LAST_MS, most=LAST_MS),
        )


def _spans() -> int:
    return limit("spans", _DEFAULT_SPANS, least=1, most=MOST_SPANS)
