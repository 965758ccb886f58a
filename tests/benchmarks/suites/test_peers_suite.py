"""How the comparison with other servers is drawn."""

from benchmarks.comparison import Result
from benchmarks.suites.peers import DRAWN, _picture
from tests.benchmarks.samples import capacity


def test_the_best_is_drawn_first_and_who_failed_last() -> None:
    """Whichever direction is better, and no server is left out."""
    results = [
        Result(name=name, isolation="none", rounds={1: [capacity(rate)], 16: [capacity(rate)]})
        for name, rate in (("slow", 10.0), ("quick", 1000.0), ("middling", 100.0))
    ]
    results.insert(0, Result(name="failed", isolation="none", failures=["round 1: it broke"]))
    throughput, p50 = (_picture(drawn, results) for drawn in DRAWN[:2])
    assert [*throughput.values] == ["quick", "middling", "slow", "failed"]
    assert [*p50.values] == ["quick", "middling", "slow", "failed"]
    assert p50.values["failed"] is None
