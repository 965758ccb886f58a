"""A semaphore for long work, such as builds and experiments, shared fairly between holders.

A holder is a project, a user or a network. The semaphore has `limit` permits. One holder may have
all of them while no other wants one. When all are taken, as many again are reserved for holders
that have none, one for each. So a holder that has none waits only while more than `limit` others
have one, even if one of them sleeps, never ends, or asks for a thousand permits.

The next permit goes to the waiting holder that has the fewest, then to the one that has had permits
for the least time, as in the fair queue of requests. Within a holder the order is that of arrival.
A holder that starts to wait counts as having had no less time than the one that was served last:
idle time earns no credit.

The time of idle holders is remembered for those that had the most: the number of networks that
passwords are tried from (`password_hashing.py`) is unbounded.

`FairSchedule` decides and is pure: times are arguments. `FairSemaphore` is what tasks wait for.
"""

from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from heapq import nsmallest
from math import inf
from typing import Generic, TypeVar

import trio

# Idle holders whose time is remembered.
MAX_IDLE = 100

W = TypeVar("W", bound=Hashable)


class _Holder(Generic[W]):
    """The waiters of one holder, the permits it has, and the seconds it has had them."""

    def __init__(self, time: float, now: float) -> None:
        self.waiting: deque[W] = deque()
        self.running = 0
        self.time = time
        self.counted_at = now

    def count(self, now: float) -> None:
        """Adds the time that has passed since the last count."""
        self.time += self.running * (now - self.counted_at)
        self.counted_at = now

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self.running)


class FairSchedule(Generic[W]):
    """Which waiter gets the next permit. `per_holder` bounds the permits of one holder."""

    def __init__(self, limit: int, per_holder: float = inf) -> None:
        self.limit = limit
        self.per_holder = per_holder
        self.running = 0
        self._time = 0.0
        self._holders: dict[str, _Holder[W]] = {}

    def join(self, name: str, waiter: W, now: float) -> None:
        """Adds a waiter to its holder's queue."""
        holder = self._holders.get(name)
        if holder is None:
            holder = self._holders[name] = _Holder(self._time, now)
        holder.count(now)
        if holder.is_idle:
            holder.time = max(holder.time, self._time)
        holder.waiting.append(waiter)

    def leave(self, name: str, waiter: W) -> None:
        """Removes a waiter that has had no permit."""
        self._holders[name].waiting.remove(waiter)
        self._forget()

    def begin(self, now: float) -> W | None:
        """Gives the next permit and returns its waiter; None if no permit can be given now."""
        found = [each for each in self._holders.values() if self._may_begin(each)]
        if not found:
            return None
        for each in found:
            each.count(now)
        # Of equals the one that is in the dictionary for longest.
        holder = min(found, key=lambda each: (each.running, each.time))
        self._time = max(self._time, holder.time)
        holder.running += 1
        self.running += 1
        return holder.waiting.popleft()

    def end(self, name: str, now: float) -> None:
        """Returns a permit."""
        holder = self._holders[name]
        holder.count(now)
        holder.running -= 1
        self.running -= 1
        self._forget()

    def is_free(self, name: str) -> bool:
        """Whether the holder would get one more permit at once."""
        holder = self._holders.get(name)
        if holder is None:
            return self._is_within_limits(0)
        return not holder.waiting and self._is_within_limits(holder.running)

    def _may_begin(self, holder: _Holder[W]) -> bool:
        return bool(holder.waiting) and self._is_within_limits(holder.running)

    def _is_within_limits(self, running: int) -> bool:
        """Whether a holder that holds `running` permits may have one more."""
        limit = self.limit if running else 2 * self.limit
        return running < self.per_holder and self.running < limit

    def _forget(self) -> None:
        """Forgets holders that would begin as new ones do. If too many idle ones are left,
        forgets those that have had the least time."""
        self._holders = {
            name: holder
            for name, holder in self._holders.items()
            if not holder.is_idle or holder.time > self._time
        }
        idle = [(each.time, name) for name, each in self._holders.items() if each.is_idle]
        for _, name in nsmallest(len(idle) - MAX_IDLE, idle):
            del self._holders[name]


class FairSemaphore:
    """What tasks wait for. `per_holder` bounds the permits of one holder."""

    def __init__(self, limit: int, per_holder: float = inf) -> None:
        self._schedule: FairSchedule[trio.Event] = FairSchedule(limit, per_holder)

    def resize(self, limit: int) -> None:
        """Sets the number of permits. Below the number in use, none is given until enough have
        been returned."""
        self._schedule.limit = limit
        self._wake()

    def is_free(self, name: str) -> bool:
        """Whether the holder would get one more permit at once."""
        return self._schedule.is_free(name)

    @asynccontextmanager
    async def acquire(self, name: str) -> AsyncIterator[None]:
        """Waits for a permit of the holder and holds it during the block."""
        mine = trio.Event()
        self._schedule.join(name, mine, trio.current_time())
        self._wake()
        try:
            await mine.wait()
        except trio.Cancelled:
            if mine.is_set():
                self._end(name)
            else:
                self._schedule.leave(name, mine)
            raise
        try:
            yield
        finally:
            self._end(name)

    def _end(self, name: str) -> None:
        self._schedule.end(name, trio.current_time())
        self._wake()

    def _wake(self) -> None:
        while (waiter := self._schedule.begin(trio.current_time())) is not None:
            waiter.set()
