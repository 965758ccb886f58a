"""Frequent changes, such as delayed metrics: the first is entered, the others are counted.

The audit log is never shortened, and a model may send metrics for each of its predictions. So
changes with the same user, action, project and outcome are grouped. The first of a period is
entered as any change is, and the others are counted; the count is entered at the period's end. A
gateway that is killed in between loses the count, not the first entry. The number of groups is
bounded too; beyond that, changes are counted by action only.

The thread of the store counts, Trio's thread drains: hence the lock.
"""

from collections import Counter
from threading import Lock
from typing import NamedTuple

KINDS = 1000


class ChangeKind(NamedTuple):
    """Changes that are counted together. `detail` is that of the entry."""

    action: str
    who: str = ""
    object: str = ""
    detail: str = ""
    outcome: str = "done"


class ChangeCounter:
    """Counts changes by their kind."""

    def __init__(self) -> None:
        self._seen: Counter[ChangeKind] = Counter()
        self._lock = Lock()

    def is_first(self, one: ChangeKind) -> bool:
        """Whether the change is the first of its kind and gets an entry of its own."""
        with self._lock:
            if one not in self._seen and len(self._seen) >= KINDS:
                one = ChangeKind(one.action, outcome=one.outcome)
            self._seen[one] += 1
            return self._seen[one] == 1

    def drain(self) -> dict[ChangeKind, int]:
        """The counts without the first ones; a new period begins."""
        with self._lock:
            seen, self._seen = self._seen, Counter()
        return {one: count - 1 for one, count in seen.items() if count > 1}
