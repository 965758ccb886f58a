"""A semaphore for long work, such as builds and experiments, shared fairly between projects.

It has `limit` permits. One project may hold all of them while no other project wants one. When all
are taken, as many again are reserved for projects that hold none, one for each. So a project that
holds none waits only while more than `limit` other projects hold one, even if one of them sleeps,
never ends, or asks for a thousand permits.

The next permit goes to the waiting project that holds the fewest, then to the one that has held
permits for the least time, as in the fair queue of requests. Within a project the order is that of
arrival. A project that starts to wait counts as having had no less time than the one that was
served last: idle time earns no credit.

The time of idle projects is remembered for those that had the most. A project may also be the
network that a password was tried from (`password_hashing.py`), and the number of networks is
unbounded.

`Backlog` bounds what one project may have unfinished: each takes memory and a snapshot.

`FairSchedule` decides and is pure: times are arguments. `FairSemaphore` is what tasks wait for.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from heapq import nsmallest
from math import inf
from typing import Generic, TypeVar

import trio

from gateway.errors import Refusal

# Of one project, of each kind.
MAX_UNFINISHED = 100
# Idle projects whose time is remembered.
MAX_IDLE = 100

W = TypeVar("W", bound=Hashable)


class Backlog:
    """Bounds the unfinished builds or experiments of one project to MAX_UNFINISHED."""

    def __init__(self, what: str) -> None:
        self._what = what
        # Those that are being accepted: many that are asked for at once are not one.
        self._joining: Counter[str] = Counter()

    def check(self, project_id: str, unfinished: int) -> None:
        """Raises Refusal("project.busy") if the project may not add to its `unfinished` ones."""
        count = unfinished + self._joining[project_id]
        if count >= MAX_UNFINISHED:
            text = (
                f"{count} {self._what} of this project have not ended yet: no more until some have"
            )
            raise Refusal("project.busy", text)

    @contextmanager
    def joining(self, project_id: str, unfinished: int) -> Iterator[None]:
        """Counts one more while the block accepts it. Raises Refusal as `check`."""
        self.check(project_id, unfinished)
        self._joining[project_id] += 1
        try:
            yield
        finally:
            self._joining[project_id] -= 1
            self._joining = +self._joining


class _Project(Generic[W]):
    """The waiters of one project, the permits it holds, and the seconds it has held them."""

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
    """Which waiter gets the next permit. `each` bounds the permits of one project."""

    def __init__(self, limit: int, each: float = inf) -> None:
        self.limit = limit
        self.each = each
        self.running = 0
        self._time = 0.0
        self._projects: dict[str, _Project[W]] = {}

    def join(self, project_id: str, waiter: W, now: float) -> None:
        """Adds a waiter to its project's queue."""
        project = self._projects.get(project_id)
        if project is None:
            project = self._projects[project_id] = _Project(self._time, now)
        project.count(now)
        if project.is_idle:
            project.time = max(project.time, self._time)
        project.waiting.append(waiter)

    def leave(self, project_id: str, waiter: W) -> None:
        """Removes a waiter that has had no permit."""
        self._projects[project_id].waiting.remove(waiter)
        self._forget()

    def begin(self, now: float) -> W | None:
        """Gives the next permit and returns its waiter; None if no permit can be given now."""
        found = [each for each in self._projects.values() if self._may_begin(each)]
        if not found:
            return None
        for each in found:
            each.count(now)
        # Of equals the one that is in the dictionary for longest.
        project = min(found, key=lambda each: (each.running, each.time))
        self._time = max(self._time, project.time)
        project.running += 1
        self.running += 1
        return project.waiting.popleft()

    def end(self, project_id: str, now: float) -> None:
        """Returns a permit."""
        project = self._projects[project_id]
        project.count(now)
        project.running -= 1
        self.running -= 1
        self._forget()

    def is_free(self, project_id: str) -> bool:
        """Whether the project would get one more permit at once."""
        project = self._projects.get(project_id)
        if project is None:
            return self._is_within_limits(0)
        return not project.waiting and self._is_within_limits(project.running)

    def _may_begin(self, project: _Project[W]) -> bool:
        return bool(project.waiting) and self._is_within_limits(project.running)

    def _is_within_limits(self, running: int) -> bool:
        """Whether a project that holds `running` permits may have one more."""
        limit = self.limit if running else 2 * self.limit
        return running < self.each and self.running < limit

    def _forget(self) -> None:
        """Forgets projects that would begin as new ones do. If too many idle ones are left,
        forgets those that have had the least time."""
        self._projects = {
            name: project
            for name, project in self._projects.items()
            if not project.is_idle or project.time > self._time
        }
        idle = [(each.time, name) for name, each in self._projects.items() if each.is_idle]
        for _, name in nsmallest(len(idle) - MAX_IDLE, idle):
            del self._projects[name]


class FairSemaphore:
    """What tasks wait for. `each` bounds the permits of one project."""

    def __init__(self, limit: int, each: float = inf) -> None:
        self._schedule: FairSchedule[trio.Event] = FairSchedule(limit, each)

    def resize(self, limit: int) -> None:
        """Sets the number of permits. Below the number in use, none is given until enough have
        been returned."""
        self._schedule.limit = limit
        self._wake()

    def is_free(self, project_id: str) -> bool:
        """Whether the project would get one more permit at once."""
        return self._schedule.is_free(project_id)

    @asynccontextmanager
    async def acquire(self, project_id: str) -> AsyncIterator[None]:
        """Waits for a permit of the project and holds it during the block."""
        mine = trio.Event()
        self._schedule.join(project_id, mine, trio.current_time())
        self._wake()
        try:
            await mine.wait()
        except trio.Cancelled:
            if mine.is_set():
                self._end(project_id)
            else:
                self._schedule.leave(project_id, mine)
            raise
        try:
            yield
        finally:
            self._end(project_id)

    def _end(self, project_id: str) -> None:
        self._schedule.end(project_id, trio.current_time())
        self._wake()

    def _wake(self) -> None:
        while (waiter := self._schedule.begin(trio.current_time())) is not None:
            waiter.set()
