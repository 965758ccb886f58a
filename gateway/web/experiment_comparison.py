"""What the page that compares experiments shows of what the API returns. Pure.

Twenty experiments can have ten thousand values each. So the API is asked for no more than is drawn,
its parts are decoded one by one, and a thread does it all: it keeps the loop waiting for half a
millisecond at most (`_SWITCH_INTERVAL` in serving.py).
"""

from typing import Any

import msgspec

from gateway.web.chart_figure import Series
from gateway.web.experiment_values import over_time, ranked, text_of
from gateway.web.parallel_chart import parallel_chart

# What is asked for: keys that have a chart over time, and values of each line in it.
ASKED = {"series": 12, "points": 150}


class ComparedRuns(msgspec.Struct):
    """The reply of the API; the values of each metric are not decoded."""

    experiments: list[dict[str, Any]]
    metrics: dict[str, msgspec.Raw]
    series: dict[str, msgspec.Raw]


def drawn(found: ComparedRuns) -> dict[str, Any]:
    """The rows of the metrics, the chart with an axis for each, and the charts over time."""
    metrics: dict[str, list[Any]] = {
        key: msgspec.json.decode(values) for key, values in found.metrics.items()
    }
    labels = [f"Run-{run['experiment_number']}" for run in found.experiments]
    axes = ranked(metrics)
    items = [Series(label, [metrics[axis][n] for axis in axes]) for n, label in enumerate(labels)]
    return {
        "metrics": [(key, [text_of(value) for value in metrics[key]]) for key in metrics],
        "parallel": parallel_chart("Metrics of each run", axes, items) if len(axes) > 1 else "",
        "series": [
            over_time(key, labels, msgspec.json.decode(lines))
            for key, lines in sorted(found.series.items())
        ],
    }
