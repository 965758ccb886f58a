"""Finds replicas that have grown above their recycling memory, once a second."""

from collections.abc import Callable, Iterable

from workers.pool.slot import Slot
from workers.reactor.timers import Timer
from workers.replica.interfaces import EventLoop
from workers.replica.lifecycle import StopReason
from workers.replica.replica import Replica

# How often the memory of replicas is checked, where it is bounded, and from which age on.
_INTERVAL = 1.0
_LEAST_AGE = 10.0


class MemoryCheck:
    """Checks the replicas of `slots` against a bound in bytes, 0 for none; `recycle` is called for
    each that exceeds it."""

    def __init__(
        self,
        loop: EventLoop,
        slots: Iterable[Slot],
        recycle: Callable[[Replica, StopReason], object],
    ) -> None:
        self._loop = loop
        self._slots = slots
        self._recycle = recycle
        self._bound = 0
        self._timer: Timer | None = None

    @property
    def is_running(self) -> bool:
        return self._timer is not None

    def set_bound(self, bound: int) -> None:
        """From now on this bound counts."""
        self.stop()
        self._bound = bound
        if bound:
            self._check_later()
        for slot in self._slots:
            slot.over_memory = False

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def exceeds(self, replica: Replica) -> bool:
        """Whether a replica uses more than the bound."""
        used = replica.process.resident() if replica.process else 0
        return 0 < self._bound < used

    def _check_later(self) -> None:
        self._timer = self._loop.call_at(self._loop.now() + _INTERVAL, self._check)

    def _check(self) -> None:
        now = self._loop.now()
        for slot in self._slots:
            replica = slot.replica
            if replica is None or slot.over_memory or replica.ready_at is None:
                continue
            if now - replica.ready_at >= _LEAST_AGE and self.exceeds(replica):
                self._recycle(replica, StopReason.MEMORY_GROWTH)
        self._check_later()
