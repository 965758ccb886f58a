"""A contest: everybody has a turn, and who fails is told of."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks import comparison
from benchmarks.comparison import RunningServer, Server
from benchmarks.load import closed
from benchmarks.load.closed import Capacity
from benchmarks.load.python import LoadFailed
from benchmarks.load.spec import Target
from benchmarks.peers.catalogue import PeerFailed
from benchmarks.plan import Plan
from tests.benchmarks.samples import capacity


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured, in order: the rates are 100, 200, ... by turn; port 2 fails later."""
    seen: list[str] = []

    def measure(target: Target, callers: int, seconds: float) -> Capacity:
        if seconds == comparison.WARM_UP:
            return capacity(1)
        seen.append(f"{target.port} x{callers}")
        if target.port == 2 and len(seen) > 2:
            raise LoadFailed("it\nbroke")
        return capacity(100 * len(seen))

    monkeypatch.setattr(closed, "measure", measure)
    return seen


def contender(name: str, port: int, failure: str = "") -> Server:
    @contextmanager
    def start() -> Iterator[RunningServer]:
        if failure:
            raise PeerFailed(name, failure)
        target = Target(host="127.0.0.1", port=port)
        yield RunningServer(target=target, roles={}, seconds_to_answer=1.0)

    return Server(name=name, isolation="none", start=start)


def test_contenders_take_turns(turns: list[str]) -> None:
    """A B A B, each with all numbers of callers, and the aside once a round."""
    asides: list[int] = []
    results = comparison.run_rounds(
        [contender("a", 1), contender("c", 3)],
        (1, 16),
        Plan(seconds=0.5, rounds=2),
        lambda: asides.append(len(turns)),
    )
    assert turns == ["1 x1", "1 x16", "3 x1", "3 x16"] * 2
    assert asides == [4, 8]
    assert results["a"].median_of(1, "requests_per_second") == 300
    assert results["c"].row(16)["requests_per_second"] == 600


def test_who_fails_is_a_row_with_the_reason(turns: list[str]) -> None:
    """At the start or in a later round: it is told, and the others go on."""
    results = comparison.run_rounds(
        [contender("b", 2), contender("d", 4, "no compiler"), contender("e", 5)],
        (1,),
        Plan(seconds=0.5, rounds=2),
    )
    assert list(results) == ["b", "d", "e"]
    assert results["b"].failure_rows() == [{"server": "b", "failure": "round 2: it broke"}]
    assert results["b"].median_of(1, "requests_per_second") == 100
    assert [f[:9] for f in results["d"].failures] == ["round 1: ", "round 2: "]
    assert "no compiler" in results["d"].failures[0]
    assert results["d"].failed
    assert results["d"].median_of(1, "p50_us") is None
    assert results["d"].row(1)["spread"] == "failed"
    assert results["e"].row(1)["requests_per_second"] is not None
