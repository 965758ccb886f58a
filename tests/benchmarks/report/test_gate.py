"""The gate holds the costs of a prediction against a run that was kept."""

from pathlib import Path

import msgspec
import pytest

from benchmarks.report import gate
from benchmarks.report.record import Report, Section

WRK = "wrk -t1"


def report(ratios: dict[str, float], generator: str = WRK) -> Report:
    section = Section(verb="predict", title="t", ratios=ratios)
    return Report(caveats=[], machine={gate.GENERATOR: generator}, quick=True, sections=[section])


def test_worse_is_only_what_grew_by_more_than_the_tolerance() -> None:
    """A quarter more is held, beyond it is worse, less is always held."""
    then = report({"a": 2.0, "b": 2.0, "c": 2.0})
    now = report({"a": 2.5, "b": 2.51, "c": 0.1})
    assert [each.worse for each in gate.compare(then, now, 0.25)] == [False, True, False]


def test_what_is_not_measured_any_more_is_worse() -> None:
    """A gate that passes over what it cannot see is none."""
    [comparison] = gate.compare(report({"a": 2.0}), report({}), 0.25)
    assert comparison.worse
    assert gate.table([comparison]).rows[0]["now"] == "not measured"


def test_a_kept_run_is_read_back(tmp_path: Path) -> None:
    """What --json printed is what --compare reads."""
    kept = report({"a": 2.0})
    file = tmp_path / "baseline.json"
    file.write_bytes(msgspec.json.encode(kept))
    assert gate.read(file, WRK) == kept


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "no report"),
        (msgspec.json.encode(report({})), "no ratios"),
        (msgspec.json.encode(report({"a": 1.0}, "own")), "not the same thing"),
    ],
)
def test_an_unusable_run_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    """With its reason, before anything is measured."""
    file = tmp_path / "baseline.json"
    file.write_bytes(content)
    with pytest.raises(gate.GateUnusable, match=why):
        gate.read(file, WRK)


def test_no_file(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(gate.GateUnusable, match="missing"):
        gate.read(tmp_path / "missing", WRK)
