"""Experiments side by side: a table of what each came to, and how that went, to be drawn. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from store import Experiment, Point


class Compared(msgspec.Struct, frozen=True):
    """`metrics` has, for each key, the last value in each experiment, None where there is none;
    `series`, for each key of which some experiment tracked several numbers, `[seconds, value]` of
    each, from the first value that the experiment tracked."""

    metrics: dict[str, list[Any]]
    series: dict[str, list[list[tuple[float, float]]]]


def compare(experiments: Sequence[tuple[Experiment, Sequence[Point]]]) -> Compared:
    """The experiments, each with all that it tracked, in the order in which they are given."""
    latest = [{point.key: point.value for point in points} for _, points in experiments]
    keys = sorted({key for each in latest for key in each})
    metrics = {key: [each.get(key) for each in latest] for key in keys}
    drawn = {key: [_series(points, key) for _, points in experiments] for key in keys}
    series = {key: each for key, each in drawn.items() if max(map(len, each)) > 1}
    return Compared(metrics, series)


def _series(points: Sequence[Point], key: str) -> list[tuple[float, float]]:
    began = points[0].time if points else 0
    return [
        ((point.time - began) / 1000, point.value)
        for point in points
        if point.key == key
        and isinstance(point.value, int | float)
        and not isinstance(point.value, bool)
    ]
