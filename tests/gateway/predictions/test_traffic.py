"""What the hot path counts: within 5 %, and bounded."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.control.history import points
from gateway.predictions.traffic import BUCKETS, MOST_KEPT, ModelTraffic, bucket_of, middle_of
from workers import Answered, Ticket


@given(st.floats(min_value=2e-5, max_value=1000))
def test_bucket_is_within_five_percent(seconds: float) -> None:
    """The middle of a bucket is within 5 % of each duration in it."""
    assert abs(middle_of(bucket_of(seconds)) - seconds) <= 0.05 * seconds


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1), st.floats(0.01, 1))
def test_percentiles_are_near(values: list[float], share: float) -> None:
    """A percentile is within 5 % of the true one, also of merged points."""
    halves = [values[::2], values[1::2]]
    merged = points.merge(points.Point(latency=counts(half)) for half in halves)
    [found] = points.percentiles(merged.latency, [share])
    assert found is not None
    below = [each for each in sorted(values) if middle_of(bucket_of(each)) <= found * 1.001]
    assert len(below) >= share * len(values) - 1e-9


def counts(values: list[float]) -> dict[int, int]:
    found: dict[int, int] = {}
    for each in values:
        found[bucket_of(each)] = found.get(bucket_of(each), 0) + 1
    return found


def a_ticket(entered: float, assigned: float) -> Ticket:
    ticket = Ticket(b"1", lambda _: None)
    ticket.entered, ticket.assigned = entered, assigned
    ticket.outcome = Answered(b"1", "replica-1")
    return ticket


def test_traffic_is_bounded() -> None:
    """Of many requests some are kept: failures are not displaced by successes, tests are kept."""
    traffic = ModelTraffic()
    traffic.add(1.0, "bad", 500, "model.error", a_ticket(0.5, 0.6), None, test=False)
    for n in range(10 * MOST_KEPT):
        traffic.add(n, f"r{n}", 200, "", a_ticket(n - 0.01, n - 0.005), None, test=False)
    assert len(traffic.recent) == MOST_KEPT
    traffic.add(1.0, "test", 200, "", a_ticket(0.5, 0.6), None, test=True)
    assert traffic.recent[-1].request_id == "test"
    assert len(traffic.recent) == MOST_KEPT
    assert len(traffic.latency) == len(traffic.wait) == BUCKETS
    [failed] = traffic.failed
    assert failed[:7] == (1.0, "bad", 500, "model.error", 0.5, 0.6, "replica-1")
    point = points.taken_from(traffic)
    assert (point.requests, point.failures) == (10 * MOST_KEPT + 2, {"model.error": 1})
    assert points.taken_from(traffic).is_empty


def test_request_without_replica_has_only_a_wait() -> None:
    """A refused request counts by its code, and not as latency."""
    traffic = ModelTraffic()
    ticket = Ticket(b"1", lambda _: None)
    ticket.entered = 1.0
    traffic.add(3.0, "r", 429, "model.busy", ticket, None, test=True)
    [(at, _, _, _, entered, assigned, *_, test)] = traffic.failed
    assert (at, entered, assigned, test) == (3.0, 1.0, 0.0, True)
    assert sum(traffic.latency) == 0


@given(st.floats(min_value=2e-5, max_value=1000))
def test_counted_latency_is_within_five_percent(seconds: float) -> None:
    """The hot path's shortcut for short durations is as exact."""
    traffic = ModelTraffic()
    traffic.add(seconds, "r", 200, "", a_ticket(0.0, 1e-9), None, test=False)
    [bucket] = points.counted(traffic).latency
    assert abs(middle_of(bucket) - seconds) <= 0.0501 * seconds
