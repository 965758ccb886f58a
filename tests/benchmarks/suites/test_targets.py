"""The goals, as bounds on what one run finds."""

from benchmarks.comparison import Result
from benchmarks.peers.catalogue import PEERS
from benchmarks.servers import NGINX, OURS
from benchmarks.suites import targets
from tests.benchmarks.samples import capacity


def result(name: str, rate: float) -> Result:
    rounds = {1: [capacity(rate)], 16: [capacity(rate)]}
    return Result(name=name, isolation="none", rounds=rounds)


def test_every_goal_names_a_peer_that_there_is() -> None:
    """A goal against a peer of another name would never be measured."""
    for name in [*targets.THROUGHPUT, "uWSGI"]:
        assert sum(targets.is_named(peer.name, name) for peer in PEERS.values()) == 1


def test_ratios_are_of_one_run() -> None:
    """Twice uWSGI's throughput meets that goal; half its p50 meets the other."""
    found = targets.against_peers({OURS: result(OURS, 200), "uWSGI": result("uWSGI", 100)})
    by_name = {goal.what: goal for goal in found}
    assert by_name["throughput, 16 callers / uWSGI's"].found == 2.0
    assert by_name["throughput, 16 callers / uWSGI's"].verdict == "met"
    assert found[0].found == 0.5


def test_a_peer_that_failed_is_a_goal_not_measured() -> None:
    """With the reason."""
    failed = Result(name="LitServe", isolation="process", failures=["did not install"])
    found = targets.against_peers({OURS: result(OURS, 200), "LitServe": failed})
    [goal] = [goal for goal in found if "LitServe" in goal.what]
    assert (goal.verdict, goal.why_not) == ("not measured", "LitServe failed")


def test_the_floors_add_up() -> None:
    """p50 is held against nginx's and the pipe's together."""
    found, _ = targets.latency({OURS: result(OURS, 1e6 / 50), NGINX: result(NGINX, 1e6 / 20)}, 5.0)
    assert found.found == 2.0
    without, _ = targets.latency({OURS: result(OURS, 1e6 / 50)}, 5.0)
    assert without.verdict == "not measured"
