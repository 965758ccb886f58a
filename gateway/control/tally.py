"""Changes that come by the thousand, such as delayed metrics: entered once in a while, and counted.

The audit trail is never shortened, and a model may say something of each of its predictions. So of
what is alike (by whom, what, in which project, with which outcome) the first in a while is entered
as any change is, and the others are counted; the count is entered when the while is over. A gateway
that is killed in between loses the count, not who it was. What can be alike is bounded too; beyond
that it is counted by action only.

Counted on the thread of the store, taken on that of Trio: hence the lock.
"""

from collections import Counter
from threading import Lock
from typing import NamedTuple

KINDS = 1000


class Alike(NamedTuple):
    """What is counted together. `detail` is that of the entry."""

    action: str
    who: str = ""
    object: str = ""
    detail: str = ""
    outcome: str = "done"


class Tally:
    """Counts what is alike."""

    def __init__(self) -> None:
        self._seen: Counter[Alike] = Counter()
        self._lock = Lock()

    def is_first(self, one: Alike) -> bool:
        """Whether it is to be entered on its own."""
        with self._lock:
            if one not in self._seen and len(self._seen) >= KINDS:
                one = Alike(one.action, outcome=one.outcome)
            self._seen[one] += 1
            return self._seen[one] == 1

    def take(self) -> dict[Alike, int]:
        """How many came beside those that were entered; a new while begins."""
        with self._lock:
            seen, self._seen = self._seen, Counter()
        return {one: count - 1 for one, count in seen.items() if count > 1}
