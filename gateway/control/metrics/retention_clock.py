"""The time by which metrics age: it follows the wall clock, but not its jumps.

Between two readings it advances with the monotonic clock. If the wall clock is ahead of it (the
machine was off or asleep, or the clock was set), it follows only after the wall clock has kept its
distance to the monotonic clock for SETTLED. So a clock that is 400 days ahead for an hour deletes
nothing, and neither does one that is set back. This time never goes back. A start continues from
the time of the row that was written last, so nothing else has to be stored.

A clock that is wrong for longer than SETTLED is believed.
"""

import time
from collections.abc import Callable

# Longer than it takes to notice a wrong clock, shorter than a working day of a machine.
SETTLED = 6 * 3600.0
# What the two clocks may differ between two looks and still keep their distance, in seconds.
_TOLERANCE = 5.0


class RetentionClock:
    """Both clocks tell seconds."""

    def __init__(
        self,
        last_ms: int = 0,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        # Without a row nothing can be forgotten too early.
        self._now = last_ms / 1000 if last_ms else wall()
        self._looked = self._since = monotonic()
        self._distance = wall() - self._looked

    def now_ms(self) -> int:
        """Milliseconds of Unix time, as far as they can be relied on."""
        now, wall = self._monotonic(), self._wall()
        self._now += now - self._looked
        self._looked = now
        if abs(wall - now - self._distance) > _TOLERANCE:
            self._distance, self._since = wall - now, now
        elif now - self._since >= SETTLED:
            self._now = max(self._now, wall)
        return int(self._now * 1000)
