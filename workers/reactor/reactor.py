"""The reactor: one Trio task, one persistent epoll, plain callbacks, and the deadlines.

Sockets of callers and pipes of replicas stay registered in the epoll; Trio waits on the epoll's own
descriptor, so a request costs no task, no cancel scope and no registration. Each callback belongs
to a small state machine in plain `def`: nothing on this path can be cancelled half-way.

A pass through Trio's scheduler costs as much as a quick prediction. So before it sleeps there, the
reactor does one of two things. While one thing happens at a time, and fewer replicas work than
there are cores, it polls again for a short while, since a sleeping core takes longer to wake than a
quick model to answer. Where that does not pay (slow models, rare requests) it stops, and tries
again now and then. And while replicas work, or something has just happened, it sleeps for a
millisecond in its own epoll, if none of Trio's tasks is ready: that leaves the core to the models.

The rest of the process always gets its share: after a number of events, or a sleep in which nothing
came, Trio runs. A pass of Trio's runs every task that is ready, which may be a thousand, such as
when as many clients disconnect. So within a pass, too, the reactor serves what is ready each
millisecond, between the steps of two tasks. A callback that raises is a defect of ours, and ends
the process rather than a request silently.
"""

import os
import select
from collections.abc import Callable

import trio

from workers.reactor.timers import MovableTimer, Timer, Timers

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT

# The events after which Trio's other tasks run: some 24 predictions, or about a millisecond.
_EVENTS = 48
# Or the seconds, which are checked after each few events: those of large requests and answers take
# up to 0.3 ms each.
_TURN = 0.002
_ASK = 4
# The passes of Trio's in a row, while some of its tasks have something to do: an answer of the
# admin API takes a dozen, and each would otherwise wait for as many predictions.
_PASSES = 12
# How often it polls again before it sleeps, while that pays; a poll takes half a microsecond.
_SPIN_LIMIT = 80
# The number of turns without a result after which it stops spinning, ...
_SPIN_WEIGHT = 8
# ... and the number of sleeps after which it tries again.
_TRY = 8
# The shortest timeout of an epoll, in seconds: Trio may have to wait that long.
_POLL_TIMEOUT = 0.001
# The seconds of other tasks' steps after which it serves what is ready, before the next step.
_LENT = 0.001
_CORES = len(os.sched_getaffinity(0))


class Reactor:
    """Calls handlers back when their descriptor is ready, and timers when they are due.

    All methods but `run` are for the thread that runs it.
    """

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        others_are_ready: Callable[[], bool] | None = None,
    ) -> None:
        # Half the price of `trio.current_time`.
        self.now = clock or trio.lowlevel.current_clock().current_time
        self._others_are_ready = others_are_ready or _others_are_ready
        # How many replicas are at work; they count it.
        self.working = 0
        self._timers = Timers()
        self._handlers: dict[int, Callable[[int], None]] = {}
        # Registered since the last poll, whose events of these numbers belong to others.
        self._new: set[int] = set()
        self._epoll = select.epoll()
        self._spin_credit = self._sleeps = 0
        # The scope in which the task sleeps; its deadline is the next timer.
        self._sleep_scope = trio.CancelScope()
        self._lent_until = 0.0
        # What a handler raised between two steps, outside of the reactor's task.
        self._error: Exception | None = None

    def register(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Calls `handler(events)` whenever `fd` is ready, until it is unregistered."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler
        self._new.add(fd)

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forgets `fd`. Call it before closing it: numbers are reused (gotcha G1 in README)."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def call_at(self, due: float, call: Callable[[], object]) -> Timer:
        """Calls `call()` when the clock reaches `due`."""
        timer = self._timers.call_at(due, call)
        if due < self._sleep_scope.deadline:
            self._sleep_scope.deadline = due
        return timer

    def alarm(self, call: Callable[[], object]) -> MovableTimer:
        """A deadline that can be moved cheaply; it calls `call()` when it comes."""
        return MovableTimer(self.call_at, call)

    async def run(self) -> None:
        """Serves until cancelled."""
        between = _Between(self.serve_between)
        trio.lowlevel.add_instrument(between)
        try:
            while self._error is None:
                if self._serve():
                    await self._let_others_run()
                else:
                    with trio.CancelScope(deadline=self._timers.next_due()) as self._sleep_scope:
                        await self._sleep()
            raise self._error
        finally:
            trio.lowlevel.remove_instrument(between)

    async def _sleep(self) -> None:
        """Until something happens to what is registered."""
        try:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
        except OSError:  # the kernel has no memory to watch one more
            await trio.sleep(_POLL_TIMEOUT)

    async def _let_others_run(self) -> None:
        """Runs Trio's other ready tasks, and those that they make ready, up to a bound."""
        idle = 0
        for _ in range(_PASSES):
            await trio.lowlevel.checkpoint()
            # Tasks of the current pass are not counted; hence two in a row.
            idle = 0 if self._others_are_ready() else idle + 1
            if idle == 2:
                return

    def close(self) -> None:
        """Closes the epoll, when nothing is registered any more."""
        self._epoll.close()

    def _serve(self) -> bool:
        """Serves what is ready and what soon will be. Whether there is more to do."""
        poll, handlers, new = self._epoll.poll, self._handlers, self._new
        events = looks = 0
        asked_at, is_over, end = _ASK, False, self.now() + _TURN
        most = self._looks_before_sleep()
        timeout = 0.0
        alone = self.working < _CORES
        while True:
            new.clear()
            ready = poll(timeout, _EVENTS)
            if ready:
                alone = alone and len(ready) == 1
                if looks:
                    self._spin_credit, looks, most = _SPIN_WEIGHT, 0, _SPIN_LIMIT
                timeout = 0.0
                for fd, what in ready:
                    # An earlier callback of this turn may have unregistered this one.
                    handler = handlers.get(fd)
                    if handler is not None and fd not in new:
                        handler(what)
                events += len(ready)
                if events >= asked_at:
                    asked_at = events + _ASK
                    is_over = events >= _EVENTS or self.now() >= end
                    if is_over:
                        break
            elif looks < most and alone:
                looks += 1
            elif not timeout and (self.working or events) and not self._others_are_ready():
                timeout = _POLL_TIMEOUT
            else:
                break
        self._timers.run_due(self.now())
        self._lent_until = self.now() + _LENT
        return is_over

    def serve_between(self) -> None:
        """Serves what is ready, if other tasks have run for a while. Called between two steps."""
        if self.now() < self._lent_until or self._error is not None:
            return
        try:
            self._new.clear()
            for fd, what in self._epoll.poll(0, _EVENTS):
                handler = self._handlers.get(fd)
                if handler is not None and fd not in self._new:
                    handler(what)
            self._timers.run_due(self.now())
        except Exception as error:
            self._error = error
            self._sleep_scope.cancel()
        self._lent_until = self.now() + _LENT

    def _looks_before_sleep(self) -> int:
        self._sleeps += 1
        if self._spin_credit:
            self._spin_credit -= 1
            return _SPIN_LIMIT
        return _SPIN_LIMIT if self._sleeps % _TRY == 0 else 0


class _Between(trio.abc.Instrument):
    """Calls between the steps of tasks."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._call()


def _others_are_ready() -> bool:
    return trio.lowlevel.current_statistics().tasks_runnable > 0
