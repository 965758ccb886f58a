"""The gate: have the costs of a prediction grown against the floor, since a run that was kept?

Only ratios are compared, each to a floor of the same run: a slower machine or a noisy hour affects
both sides. A ratio of the kept run that is missing in this run also fails, since a gate must not
ignore what was not measured.
"""

from pathlib import Path

import msgspec

from benchmarks.report.record import Report, Row, Table

TOLERANCE = 0.25
GENERATOR = "closed-loop generator"


class GateUnusable(Exception):
    """There is nothing to compare with; the message says why."""


class Comparison(msgspec.Struct, frozen=True):
    """One ratio, in the kept run and in this one."""

    name: str
    then: float
    now: float | None
    tolerance: float

    @property
    def worse(self) -> bool:
        return self.now is None or self.now > self.then * (1 + self.tolerance)


def read(baseline: Path, generator: str) -> Report:
    """The kept run, if it had the same closed-loop generator. Raises GateUnusable."""
    try:
        kept = msgspec.json.decode(baseline.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        raise GateUnusable(f"{baseline} is no report of a run: {error}") from error
    if not ratios(kept):
        raise GateUnusable(f"{baseline} holds no ratios: keep a run of predict with --json")
    if kept.machine.get(GENERATOR) != generator:
        raise GateUnusable(
            f"{baseline} was measured with {kept.machine.get(GENERATOR)}, this run would be with "
            f"{generator}: their ratios are not the same thing"
        )
    return kept


def compare(kept: Report, report: Report, tolerance: float) -> list[Comparison]:
    """Each ratio of the kept run against this one's."""
    then, now = ratios(kept), ratios(report)
    return [Comparison(name, value, now.get(name), tolerance) for name, value in then.items()]


def ratios(report: Report) -> dict[str, float]:
    return {name: value for section in report.sections for name, value in section.ratios.items()}


def table(comparisons: list[Comparison]) -> Table:
    rows: list[Row] = [
        {
            "": "WORSE" if each.worse else "held",
            "cost against the floor": each.name,
            "then": each.then,
            "now": each.now if each.now is not None else "not measured",
            "may be": each.then * (1 + each.tolerance),
        }
        for each in comparisons
    ]
    return Table("Compared with the kept run", rows)
