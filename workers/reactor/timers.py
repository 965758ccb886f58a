"""Deadlines for plain callbacks: a heap, with the clock passed in.

A Timer is set once. Cancelling only marks its entry; it leaves the heap when it comes up, or when
more than half of the heap is marked. A MovableTimer is for a deadline that moves with every request
and is hardly ever reached: moving it later does not touch the heap.
"""

import heapq
from collections.abc import Callable
from math import inf
from typing import Protocol


def _nothing() -> None:
    pass


class Timer:
    """A callback due at a time of the clock; `cancel` makes it never happen."""

    __slots__ = ("_timers", "call", "cancelled", "due", "order")

    def __init__(
        self, timers: "Timers", due: float, order: int, call: Callable[[], object]
    ) -> None:
        self._timers = timers
        self.due = due
        self.order = order
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self.call = _nothing  # so that the garbage collector can free what it refers to
            self._timers.forget_one()

    def __lt__(self, other: "Timer") -> bool:
        return (self.due, self.order) < (other.due, other.order)


class MovableTimer:
    """One deadline that moves often; calls `call()` when `due` is reached.

    Its entry in the heap is due at `due` or before; one that comes up too early is inserted again.
    """

    __slots__ = ("_armed", "_call", "_call_at", "_timer", "due")

    def __init__(self, call_at: "CallAt", call: Callable[[], object]) -> None:
        self._call_at = call_at
        self._call = call
        self._timer: Timer | None = None
        self._armed = inf
        self.due = inf

    def set(self, due: float) -> None:
        """Calls at `due`, and not at the time that was set before."""
        self.due = due
        if due < self._armed:
            self._arm(due)

    def clear(self) -> None:
        """Does not call unless it is set again."""
        self.due = inf

    def close(self) -> None:
        """Clears it for good, and removes its entry from the heap."""
        self.due = inf
        self._disarm()

    def _arm(self, due: float) -> None:
        self._disarm()
        self._armed = due
        self._timer = self._call_at(due, self._come_up)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = inf

    def _come_up(self) -> None:
        early = self.due > self._armed
        self._timer, self._armed = None, inf
        if not early:
            self.due = inf
            self._call()
        elif self.due < inf:
            self._arm(self.due)


class CallAt(Protocol):
    """Makes a Timer, and has `run_due` called when it is due."""

    def __call__(self, due: float, call: Callable[[], object]) -> Timer: ...


class Timers:
    """All deadlines of one reactor."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def call_at(self, due: float, call: Callable[[], object]) -> Timer:
        """Calls `call()` in the first `run_due(now)` with now >= due."""
        self._order += 1
        timer = Timer(self, due, self._order, call)
        heapq.heappush(self._heap, timer)
        return timer

    def next_due(self) -> float:
        """When the next timer is due; infinity for never."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0].due if self._heap else inf

    def run_due(self, now: float) -> None:
        """Calls what is due, in order of time. A callback may set and cancel timers."""
        while self.next_due() <= now:
            timer = heapq.heappop(self._heap)
            # Cancelling it from now on must not count it as an entry that is still in the heap.
            timer.cancelled = True
            timer.call()

    def forget_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > len(self._heap) // 2 and self._cancelled > 64:
            self._heap = [timer for timer in self._heap if not timer.cancelled]
            heapq.heapify(self._heap)
            self._cancelled = 0
