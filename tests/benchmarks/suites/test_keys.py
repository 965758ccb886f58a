"""`keys`: what it makes of what was measured."""

import msgspec
import pytest

from benchmarks.load.closed import Capacity
from benchmarks.suites.keys import KEYED, OPEN, UNKNOWN, _section, _welch

CAPACITY = msgspec.convert(dict.fromkeys(Capacity.__struct_fields__, 1), Capacity)


def test_ratios_are_those_of_neighbours() -> None:
    """A machine that gets slower from turn to turn does not count against the key."""
    open_ = [100.0, 200.0, 400.0]
    pairs = {OPEN: open_, KEYED: [1.02 * p50 for p50 in open_]}
    turns = {OPEN: [CAPACITY], KEYED: [CAPACITY]}
    section = _section(pairs, turns, {UNKNOWN: [1.0, 2.0, 3.0] * 10})
    assert [goal.found for goal in section.goals] == pytest.approx([1.02, 0])
    assert {goal.verdict for goal in section.goals} == {"met"}


def test_what_tells_is_told() -> None:
    """Means that are apart by more than chance have a large t; the same has none."""
    one = [float(n % 10) for n in range(1000)]
    t, error = _welch([each + 1 for each in one], one)
    assert t == pytest.approx(1 / error)
    assert t > 4.5
    assert _welch(one, one)[0] == 0
