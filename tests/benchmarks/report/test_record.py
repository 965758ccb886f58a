"""Values of a report, and how they are written."""

import pytest

from benchmarks.report.record import Goal, Value, headed, shown, spread


@pytest.mark.parametrize(
    ("found", "bound", "sense", "verdict"),
    [
        (0.75, 0.75, "<=", "met"),
        (0.76, 0.75, "<=", "missed"),
        (2.0, 2.0, ">=", "met"),
        (1.9, 2.0, ">=", "missed"),
        (None, 2.0, ">=", "not measured"),
        (0.0, 0.0, "<=", "met"),
    ],
)
def test_a_goal_is_met_missed_or_not_measured(
    found: float | None, bound: float, sense: str, verdict: str
) -> None:
    """The bound itself meets it; what was not measured is never met."""
    goal = Goal(what="w", found=found, bound=bound, sense="<=" if sense == "<=" else ">=")
    assert goal.verdict == verdict


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        ("text", "text"),
        (3, "3"),
        (1234567, "1,234,567"),
        (1234.56, "1,235"),
        (123.45, "123"),
        (12.345, "12.3"),
        (0.012345, "0.0123"),
        (0.0, "0"),
    ],
)
def test_numbers_have_the_digits_that_mean_something(value: Value, written: str) -> None:
    """Three of them, more only where they are the size."""
    assert shown(value) == written


def test_a_column_names_its_unit() -> None:
    """What follows the last underscore is a unit where it is one."""
    assert headed("p50_us") == "p50, µs"
    assert headed("peak_mb") == "peak, MB"
    assert headed("requests_per_second") == "requests per second"


def test_spread_is_half_the_range_against_the_median() -> None:
    """One round has none."""
    assert spread([90, 100, 110]) == "±10 %"
    assert spread([100]) == ""
