"""Which metric records a reader asks for."""

from typing import Literal

import msgspec

from gateway.control.metrics.measurements import LAST_MS
from store import MetricSeries

Noun = Literal["model", "build", "deployment"]


class MetricTarget(msgspec.Struct, frozen=True):
    """A model, a build or a deployment, and its series of metric records. Where `version` is the
    same, so are the records."""

    project_id: str
    sources: list[MetricSeries]
    version: str


class Window(msgspec.Struct, frozen=True):
    """The rows of a target that start between two times, both included; in milliseconds."""

    subject: MetricTarget
    start_ms: int = 0
    end_ms: int = LAST_MS
    # The start time and the number of the row before the first.
    after: tuple[int, int] | None = None
