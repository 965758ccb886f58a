"""Experiments side by side: what each came to, and how that went."""

import json
import time

import pytest

from gateway.control.experiments import comparison
from gateway.control.experiments.comparison import Comparison
from store import RunMetric
from tests.support.gateway import Json


def compared(*experiments: list[tuple[str, object, int]], turn: int = 2, **most: int) -> Json:
    """What is told of these, added in turns."""
    made = Comparison()
    for each in experiments:
        points = [RunMetric(key=key, value=value, time=at) for key, value, at in each]
        made.begin()
        for first in range(0, len(points), turn):
            made.add(points[first : first + turn])
    return dict(json.loads(b"{%b}" % b"".join(made.parts(**most))))


def test_series_has_numbers_only() -> None:
    """What is drawn is numbers that were tracked more than once, from the first value on."""
    assert compared(
        [("begun", True, 1000), ("loss", 2, 1500), ("loss", None, 2000)],
        [("loss", 1.5, 9000), ("loss", 0.5, 9250), ("note", "x", 1), ("note", "y", 2)],
    ) == {
        "metrics": {"begun": [True, None], "loss": [None, 0.5], "note": [None, "y"]},
        "series": {"loss": [[[0.5, 2]], [[0.0, 1.5], [0.25, 0.5]]]},
        "left_out_keys": 0,
    }


def test_comparison_of_nothing_is_empty() -> None:
    """Nothing compared, or nothing tracked, is no error."""
    nothing = {"metrics": {}, "series": {}, "left_out_keys": 0}
    assert compared() == nothing
    assert compared([], []) == nothing


def test_series_is_thinned() -> None:
    """As many of its values as can be drawn, evenly, the first and the last among them."""
    points: list[tuple[str, object, int]] = [("a", n, n * 1000) for n in range(1001)]
    [drawn] = compared(points, most_drawn=5)["series"]["a"]
    assert [value for _, value in drawn] == [0, 250, 500, 750, 1000]


def test_only_the_first_series_are_sent() -> None:
    """As many as are asked for; their metrics are all there."""
    points: list[tuple[str, object, int]] = [
        (key, n, n) for n in range(3) for key in ("c", "a", "b")
    ]
    told = compared(points, most_series=2)
    assert list(told["series"]) == ["a", "b"]
    assert list(told["metrics"]) == ["a", "b", "c"]


def test_comparison_has_the_first_keys_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many others there were is told as well."""
    monkeypatch.setattr(comparison, "MOST_KEYS", 2)
    told = compared(
        [("a", 1, 1), ("b", 2, 2), ("c", 3, 3), ("c", 4, 4)], [("d", 1, 1), ("a", 5, 1)]
    )
    assert told["metrics"] == {"a": [1, 5], "b": [2, None]}
    assert told["left_out_keys"] == 2


def test_comparison_takes_linear_time() -> None:
    """Eight times the keys and values take about eight times as long, not sixty-four times."""

    def seconds(keys: int) -> float:
        points = [RunMetric(key=f"{n % keys}", value=n, time=n) for n in range(20 * keys)]
        began = time.thread_time()
        made = Comparison()
        made.begin()
        made.add(points)
        assert sum(map(len, made.parts()))
        return time.thread_time() - began

    few = min(seconds(100) for _ in range(5))
    assert min(seconds(800) for _ in range(5)) < 25 * few
