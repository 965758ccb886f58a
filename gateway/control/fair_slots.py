"""Places for work that takes long, such as builds and experiments, shared between projects.

So many run at once (`most`). They may all be of one project while no other wants any. When they are
taken, as many again are kept for projects that have none running, one for each. So a project with
nothing running waits only while more than `most` other projects have something running, even if
one of them sleeps, never ends, or asks for a thousand places.

The next place goes to the waiting project with the fewest running, then to the one that has had
the least time in places, as in the fair queue of requests; within a project, in order of arrival. A
project that begins to wait counts as having had no less than the one that was served last: idle
time gives no credit.

What idle projects have had is remembered of those that had most: a project may also be a network
that a password was tried from (`password_hashing.py`), of which there are endlessly many.

Of one project so many may not have ended yet (`Transport`): each takes memory and a snapshot.

`Turns` decides and is pure: times are arguments. `FairSemaphore` is what tasks wait for.
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
MOST_UNENDED = 100
# Idle projects that are remembered.
MOST_IDLE = 100

W = TypeVar("W", bound=Hashable)


class Backlog:
    """Those of each project that have not ended: no more than MOST_UNENDED of one project."""

    def __init__(self, what: str) -> None:
        self._what = what
        # Those that are about to be taken on: many that are asked for at once are not one.
        self._joining: Counter[str] = Counter()

    def check(self, project_id: str, unended: int) -> None:
        """Raises Refusal("project.busy") for one more, beside so many that have been taken on."""
        count = unended + self._joining[project_id]
        if count >= MOST_UNENDED:
            text = (
                f"{count} {self._what} of this project have not ended yet: no more until some have"
            )
            raise Refusal("project.busy", text)

    @contextmanager
    def joining(self, project_id: str, unended: int) -> Iterator[None]:
        """One more while the block takes it on. Raises Refusal as `check`."""
        self.check(project_id, unended)
        self._joining[project_id] += 1
        try:
            yield
        finally:
            self._joining[project_id] -= 1
            self._joining = +self._joining


class _Project(Generic[W]):
    """What waits and runs of one project, and the seconds of places that it has had."""

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


class Turns(Generic[W]):
    """Who has a place, and who gets one next. `each` is how many one project may have at most."""

    def __init__(self, most: int, each: float = inf) -> None:
        self.most = most
        self.each = each
        self.running = 0
        self._time = 0.0
        self._projects: dict[str, _Project[W]] = {}

    def join(self, project_id: str, waiter: W, now: float) -> None:
        """Lets `waiter` wait for a place."""
        project = self._projects.get(project_id)
        if project is None:
            project = self._projects[project_id] = _Project(self._time, now)
        project.count(now)
        if project.is_idle:
            project.time = max(project.time, self._time)
        project.waiting.append(waiter)

    def leave(self, project_id: str, waiter: W) -> None:
        """Lets it go without having had a place."""
        self._projects[project_id].waiting.remove(waiter)
        self._forget()

    def begin(self, now: float) -> W | None:
        """Gives the next place and returns who has it; None where there is none to give now."""
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
        """Takes a place back."""
        project = self._projects[project_id]
        project.count(now)
        project.running -= 1
        self.running -= 1
        self._forget()

    def is_free(self, project_id: str) -> bool:
        """Whether one more of the project would get a place at once."""
        project = self._projects.get(project_id)
        if project is None:
            return self._has_room(0)
        return not project.waiting and self._has_room(project.running)

    def _may_begin(self, project: _Project[W]) -> bool:
        return bool(project.waiting) and self._has_room(project.running)

    def _has_room(self, running: int) -> bool:
        """For one more of a project that has so many running."""
        places = self.most if running else 2 * self.most
        return running < self.each and self.running < places

    def _forget(self) -> None:
        """Forgets the projects that would begin as new ones do, and those that owe least where
        too many are idle."""
        self._projects = {
            name: project
            for name, project in self._projects.items()
            if not project.is_idle or project.time > self._time
        }
        idle = [(each.time, name) for name, each in self._projects.items() if each.is_idle]
        for _, name in nsmallest(len(idle) - MOST_IDLE, idle):
            del self._projects[name]


class FairSemaphore:
    """What tasks wait for."""

    def __init__(self, most: int, each: float = inf) -> None:
        self._turns: Turns[trio.Event] = Turns(most, each)

    def resize(self, most: int) -> None:
        """With fewer than are taken, none is given until enough have been given back."""
        self._turns.most = most
        self._go_on()

    def is_free(self, project_id: str) -> bool:
        """Whether one more of the project would get a place at once."""
        return self._turns.is_free(project_id)

    @asynccontextmanager
    async def slot(self, project_id: str) -> AsyncIterator[None]:
        """A place of the project's, waited for."""
        mine = trio.Event()
        self._turns.join(project_id, mine, trio.current_time())
        self._go_on()
        try:
            await mine.wait()
        except trio.Cancelled:
            if mine.is_set():
                self._end(project_id)
            else:
                self._turns.leave(project_id, mine)
            raise
        try:
            yield
        finally:
            self._end(project_id)

    def _end(self, project_id: str) -> None:
        self._turns.end(project_id, trio.current_time())
        self._go_on()

    def _go_on(self) -> None:
        while (waiter := self._turns.begin(trio.current_time())) is not None:
            waiter.set()
