"""How long the next attempt at a password has to wait.

An attempt counts against several counters at once, its `AttemptKey`s, and has to wait for the
longest of their waits. Each kind has its own bounds:

- `device`: the browser that the user signed in with before, by its cookie;
- `place`: a name from one network;
- `name`: a name, from all networks where no user of that name signed in before;
- `network`: a network with any name, under the same condition.

An attempt with a device cookie counts against nothing else. So guesses from many networks are
slowed down together and do not lock out the user, who signs in from a known browser or network. The
name counts as it was typed, also if there is no such user.

Memory is bounded: the oldest failures are forgotten first. Each failure costs a hash, so to
displace one name takes minutes, which is as long as its wait would have been.

Pure: the clock is passed in.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

Kind = Literal["device", "place", "name", "network"]


class AttemptKey(NamedTuple):
    """A counter of failed attempts."""

    kind: Kind
    text: str


class Backoff(NamedTuple):
    """How many failures in a row are free, and the longest wait, in seconds. Each further failure
    doubles the wait."""

    free: int
    longest: float


BACKOFFS: dict[Kind, Backoff] = {
    "device": Backoff(5, 300.0),
    "place": Backoff(5, 300.0),
    # Shorter: a user in a new place waits for it too.
    "name": Backoff(10, 60.0),
    "network": Backoff(30, 300.0),
}
# Of each kind.
MOST_REMEMBERED = 10_000
# After so many seconds without a failure a counter is forgotten.
QUIET = 3600.0


class _Failures(NamedTuple):
    number: int
    until: float


_NONE = _Failures(0, 0.0)


class Throttle:
    """The failed attempts, and until when the next one has to wait."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: dict[Kind, OrderedDict[str, _Failures]] = {
            kind: OrderedDict() for kind in BACKOFFS
        }

    def wait(self, keys: Sequence[AttemptKey]) -> float:
        """Seconds until the next attempt; 0: now."""
        return max([max(0.0, self._of(key).until - self._now()) for key in keys], default=0.0)

    def failed(self, keys: Sequence[AttemptKey]) -> None:
        for key in keys:
            self._count(key, self._of(key).number + 1)

    def succeeded(self, keys: Sequence[AttemptKey]) -> None:
        """An attempt that was counted as failed was right. It clears the counter of its device or
        place. A name and a network are shared with others: only this attempt is subtracted."""
        for key in keys:
            shared = key.kind in ("name", "network")
            count = self._of(key).number - 1 if shared else 0
            if count > BACKOFFS[key.kind].free:
                self._count(key, count)
            elif count > 0:
                self._failures[key.kind][key.text] = _Failures(count, self._now())
            else:
                self._failures[key.kind].pop(key.text, None)

    def _of(self, key: AttemptKey) -> _Failures:
        found = self._failures[key.kind].get(key.text, _NONE)
        return found if self._now() - found.until <= QUIET else _NONE

    def _count(self, key: AttemptKey, count: int) -> None:
        bounds, failures = BACKOFFS[key.kind], self._failures[key.kind]
        over = count - bounds.free
        # A float ends at 2**1024.
        wait = min(2.0 ** min(over, 60), bounds.longest) if over > 0 else 0.0
        failures[key.text] = _Failures(count, self._now() + wait)
        failures.move_to_end(key.text)
        if len(failures) > MOST_REMEMBERED:
            failures.popitem(last=False)
