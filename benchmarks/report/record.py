"""The results of a run: facts, tables, pictures and goals, as values that JSON can carry.

A verb makes one Section. A Report has the caveats, the sections, and the command that repeats the
run.
"""

from collections.abc import Sequence
from statistics import median
from typing import Literal

import msgspec

_UNITS = {"ns": "ns", "us": "µs", "ms": "ms", "s": "s", "kb": "KB", "mb": "MB"}

Value = str | int | float | None
Row = dict[str, Value]


class Table(msgspec.Struct, frozen=True):
    """Rows, which may lack some of the columns. A column's name ends in its unit."""

    title: str
    rows: list[Row]
    says: str = ""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound, and the measured value. Without a value the goal is neither met nor missed."""

    what: str
    found: float | None
    bound: float
    sense: Literal["<=", ">="] = "<="
    unit: str = ""
    why_not: str = ""

    @property
    def verdict(self) -> Literal["met", "missed", "not measured"]:
        if self.found is None:
            return "not measured"
        met = self.found <= self.bound if self.sense == "<=" else self.found >= self.bound
        return "met" if met else "missed"


class Bars(msgspec.Struct, frozen=True, tag="bars", kw_only=True):
    """A bar chart of one number for each of several servers; `ours` is highlighted.

    A value of None could not be measured. `logarithmic` is for values that are far apart.
    """

    title: str
    unit: str
    values: dict[str, float | None]
    ours: str = ""
    says: str = ""
    logarithmic: bool = False


class Lines(msgspec.Struct, frozen=True, tag="lines", kw_only=True):
    """A line chart: each series is its points (x, y)."""

    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]
    says: str = ""
    logarithmic: bool = False


Picture = Bars | Lines


class Section(msgspec.Struct, kw_only=True):
    """The results of one verb.

    `ratios` are costs against the floor of the same run, the smaller the better. `--compare`
    compares them with those of another run.
    """

    verb: str
    title: str
    says: str = ""
    tables: list[Table] = []
    pictures: list[Picture] = []
    goals: list[Goal] = []
    ratios: dict[str, float] = {}
    failure: str = ""


class Report(msgspec.Struct, kw_only=True):
    """The results of one run."""

    caveats: list[str]
    machine: dict[str, str]
    quick: bool
    sections: list[Section]
    command: str = ""
    seconds: float = 0.0


def spread(values: Sequence[float]) -> str:
    """Half the range of the rounds, against their median: "±4 %"."""
    middle = median(values)
    if len(values) < 2 or not middle:
        return ""
    return f"±{50 * (max(values) - min(values)) / middle:.0f} %"


def shown(value: Value) -> str:
    """A number with its significant digits."""
    if value is None:
        return ""
    if isinstance(value, str | bool):
        return str(value)
    size = abs(value)
    if isinstance(value, int) or size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def headed(column: str) -> str:
    """A column's name for readers: `p50_us` is "p50, µs"."""
    name, _, unit = column.rpartition("_")
    if name and unit in _UNITS:
        return f"{name.replace('_', ' ')}, {_UNITS[unit]}"
    return column.replace("_", " ")
