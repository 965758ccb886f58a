"""The summary of the values of one name, from what the store has of them. Pure."""

import msgspec

from gateway.control.metrics import distributions
from gateway.control.metrics.distributions import Drift, Histogram, NumberSummary
from store import NamedValues, RecordExtent

_read = msgspec.json.decode


class LabelCount(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    count: int
    reference_count: int | None = None


class ValueSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one name. `count` are those that are not null, of all kinds; `missing` are the
    records without one; of `others`, such as lists, there is only the number."""

    name: str
    count: int
    missing: int
    others: int
    numbers: NumberSummary | None
    histogram: Histogram | None
    labels: list[LabelCount]
    distinct_labels: int
    reference_numbers: NumberSummary | None
    reference_count: int | None
    drift: Drift | None


class FoundValues(msgspec.Struct):
    """What the store has of one name."""

    numbers: list[float] = []
    labels: list[tuple[str, int]] = []
    labelled: int = 0
    distinct: int = 0
    others: int = 0

    @property
    def count(self) -> int:
        return len(self.numbers) + self.labelled + self.others

    def take(self, row: NamedValues) -> None:
        match row.kind:
            case "numbers":
                # They are sorted already, which costs a hundredth of the time to sort them.
                self.numbers = sorted(_read(row.content, type=list[float]))
            case "labels":
                self.labels = _read(row.content, type=list[tuple[str, int]])
                self.labelled, self.distinct = row.count, row.distinct
            case "others":
                self.others = row.count


def summary_of(
    name: str, found: FoundValues, extent: RecordExtent, reference: FoundValues | None
) -> ValueSummary:
    theirs = dict(reference.labels) if reference else {}
    labels = [
        LabelCount(
            label=label, count=n, reference_count=theirs.get(label, 0) if reference else None
        )
        for label, n in found.labels
    ]
    mine = dict(found.labels)
    labels += [
        LabelCount(label=label, count=0, reference_count=n)
        for label, n in theirs.items()
        if label not in mine
    ]
    return ValueSummary(
        name=name,
        count=found.count,
        missing=max(0, extent.read - found.count),
        others=found.others,
        numbers=distributions.summary(found.numbers),
        histogram=distributions.histogram(
            found.numbers, None if reference is None else reference.numbers
        ),
        labels=labels,
        distinct_labels=found.distinct,
        reference_numbers=distributions.summary(reference.numbers) if reference else None,
        reference_count=reference.count if reference else None,
        drift=_drift(found, reference) if reference else None,
    )


def _drift(found: FoundValues, reference: FoundValues) -> Drift | None:
    """Of the numbers, or of the labels where there are more of them."""
    if len(found.numbers) >= found.labelled:
        return distributions.drift_of_numbers(found.numbers, reference.numbers)
    return distributions.drift_of_labels(
        dict(found.labels), found.labelled, dict(reference.labels), reference.labelled
    )
