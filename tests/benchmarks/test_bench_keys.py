"""`keys`: what it makes of what was measured."""

import msgspec
import pytest

from benchmarks.bench_keys import KEYED, OPEN, UNKNOWN, _section, _welch
from benchmarks.load.closed import Capacity

NOTHING = dict.fromkeys(Capacity.__struct_fields__, 1)


def capacity(p50_us: float) -> Capacity:
    return msgspec.convert({**NOTHING, "p50_us": p50_us}, Capacity)


def test_ratios_are_those_of_neighbours() -> None:
    """A machine that gets slower from turn to turn does not count against the key."""
    slower = [100.0, 200.0, 400.0]
    found = {(OPEN, callers): [capacity(p50) for p50 in slower] for callers in (1, 16)}
    found |= {(KEYED, callers): [capacity(1.02 * p50) for p50 in slower] for callers in (1, 16)}
    section = _section(found, {UNKNOWN: [1.0, 2.0, 3.0] * 10})
    assert [goal.found for goal in section.goals] == pytest.approx([1.02, 1.02, 0])
    assert {goal.verdict for goal in section.goals} == {"met"}


def test_what_tells_is_told() -> None:
    """Means that are apart by more than chance have a large t; the same has none."""
    one = [float(n % 10) for n in range(1000)]
    t, error = _welch([each + 1 for each in one], one)
    assert t == pytest.approx(1 / error)
    assert t > 4.5
    assert _welch(one, one)[0] == 0
