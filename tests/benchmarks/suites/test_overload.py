"""The contract of overload, as goals on what a load's callers got."""

from benchmarks.load.histogram import Histogram
from benchmarks.load.spec import Answers
from benchmarks.suites.overload import _goals, _timeline

SECOND = 1_000_000_000


def answers(by_status: dict[str, list[float]], lost: int = 0, drained: float = 3.0) -> Answers:
    return Answers(
        sent=10,
        wrong=0,
        lost=lost,
        seconds=1.0,
        drained=drained,
        by_status={s: Histogram.of(int(t * SECOND) for t in ts) for s, ts in by_status.items()},
        late=Histogram(),
        most_outstanding=1,
        timeline=[(0, 200, 5), (2, 429, 1), (2, 200, 4)],
        cpu_seconds=0.0,
    )


def verdicts(found: Answers) -> list[str]:
    return [goal.verdict for goal in _goals(found, limit=3.0, growth_mb=1.0, freed=0.1)]


def test_the_contract_kept() -> None:
    """Answers, refusals at the limit, and nothing else."""
    assert set(verdicts(answers({"200": [0.1, 3.5], "429": [2.1, 3.0, 3.9]}))) == {"met"}


def test_a_refusal_too_early_or_too_late() -> None:
    """A refusal has its time."""
    for seconds in (0.001, 4.2):
        assert verdicts(answers({"200": [0.1], "429": [3.0, seconds]}))[0] == "missed"


def test_nobody_refused_is_no_success() -> None:
    """Where no refusal came, nothing is known of when they come."""
    assert verdicts(answers({"200": [0.1]}))[0] == "not measured"


def test_lost_others_and_late() -> None:
    """Each is a goal of its own."""
    assert verdicts(answers({"200": [0.1], "429": [3.0]}, lost=1))[1] == "missed"
    assert verdicts(answers({"200": [0.1], "429": [3.0], "503": [0.1]}))[3] == "missed"
    assert verdicts(answers({"200": [0.1], "429": [3.0]}, drained=4.5))[4] == "missed"


def test_a_second_without_an_answer_is_drawn_as_none() -> None:
    """A gap is a zero, not a line across it."""
    assert _timeline(answers({})).series == {
        "200": [(0, 5), (1, 0), (2, 4)],
        "429": [(0, 0), (1, 0), (2, 1)],
    }
