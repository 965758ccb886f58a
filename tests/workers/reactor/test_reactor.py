"""The reactor on a real epoll, in a real Trio loop."""

import os
import select
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio.testing

from tests.faults.matrix import fault
from workers.process.process import pipe
from workers.reactor.reactor import (
    _CORES,
    _EVENTS,
    _POLL_TIMEOUT,
    _SPIN_LIMIT,
    _TRY,
    READABLE,
    WRITABLE,
    Reactor,
)


@pytest.fixture
async def reactor(nursery: trio.Nursery) -> AsyncIterator[Reactor]:
    reactor = Reactor()
    nursery.start_soon(reactor.run)
    yield reactor
    nursery.cancel_scope.cancel()


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """A pipe, closed afterwards."""
    read, write = pipe()
    yield read, write
    os.close(read)
    os.close(write)


async def test_ready_descriptor_is_called_back(reactor: Reactor, ends: tuple[int, int]) -> None:
    """Bytes wake a sleeping reactor, and the handler gets the event."""
    called = trio.Event()
    read, write = ends

    def handler(events: int) -> None:
        assert events & READABLE
        os.read(read, 10)
        called.set()

    reactor.register(read, READABLE, handler)
    await trio.testing.wait_all_tasks_blocked()
    os.write(write, b"x")
    with trio.fail_after(10):
        await called.wait()
    reactor.unregister(read)


async def test_descriptor_unregistered_in_a_turn_is_not_called(
    reactor: Reactor, ends: tuple[int, int]
) -> None:
    """Of two ready descriptors the first to be called may unregister the other."""
    read, write = ends
    again, calls, both = os.dup(read), list[int](), (read,)
    done = trio.Event()

    def handler_of(mine: int, other: int) -> None:
        def handler(events: int) -> None:
            calls.append(mine)
            reactor.unregister(mine)
            reactor.unregister(other)
            done.set()

        reactor.register(mine, READABLE, handler)

    handler_of(read, again)
    handler_of(again, read)
    os.write(write, b"x")
    with trio.fail_after(10):
        await done.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert len(calls) == len(both)
    os.close(again)


async def test_modify_changes_the_watched_events(reactor: Reactor, ends: tuple[int, int]) -> None:
    """modify changes the events for which a descriptor is watched."""
    writable = trio.Event()
    _, write = ends

    def handler(events: int) -> None:
        assert events & WRITABLE
        reactor.modify(write, 0)
        writable.set()

    reactor.register(write, 0, handler)
    reactor.modify(write, WRITABLE)
    with trio.fail_after(10):
        await writable.wait()
    reactor.unregister(write)


async def test_timer_wakes_a_sleeping_reactor(
    reactor: Reactor, autojump_clock: trio.testing.MockClock
) -> None:
    """A deadline set while the reactor sleeps counts, even if it is sooner than the one it sleeps
    for."""
    calls: list[float] = []
    reactor.call_at(trio.current_time() + 100, lambda: calls.append(100))
    await trio.testing.wait_all_tasks_blocked()
    reactor.call_at(trio.current_time() + 5, lambda: calls.append(5))
    cancelled = reactor.call_at(trio.current_time() + 7, lambda: calls.append(7))
    cancelled.cancel()
    await trio.sleep(6)
    assert calls == [5]
    await trio.sleep(100)
    assert calls == [5, 100]


async def test_other_tasks_run_beside_a_ready_descriptor(
    reactor: Reactor, ends: tuple[int, int]
) -> None:
    """A descriptor that is always ready does not keep other tasks from running."""
    reactor.register(ends[1], WRITABLE, lambda events: None)
    with trio.fail_after(10):
        for _ in range(100):
            await trio.lowlevel.checkpoint()
    reactor.unregister(ends[1])


async def test_exception_in_a_callback_ends_the_reactor(ends: tuple[int, int]) -> None:
    """A callback that raises ends the reactor, instead of a request silently."""
    reactor = Reactor()

    def mistake() -> None:
        raise AssertionError("a mistake of ours")

    reactor.call_at(trio.current_time(), mistake)
    with pytest.raises(AssertionError, match="a mistake of ours"):
        await reactor.run()
    reactor.close()


async def test_event_of_a_closed_descriptor_is_dropped(reactor: Reactor) -> None:
    """A descriptor that is opened with the number of one closed in the same turn does not get its
    events."""
    (first, first_end), (second, second_end) = pipe(), pipe()
    opened: list[int] = []
    wrong: list[int] = []

    def handler_of(mine: int, other: int) -> None:
        def handler(events: int) -> None:
            reactor.unregister(mine)
            reactor.unregister(other)
            os.close(other)
            opened.append(os.dup(first_end))
            assert opened == [other], "another number was free"
            reactor.register(other, 0, wrong.append)

        reactor.register(mine, READABLE, handler)

    handler_of(first, second)
    handler_of(second, first)
    for end in (first_end, second_end):
        os.write(end, b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert opened
    assert not wrong
    reactor.unregister(opened[0])
    for fd in (first, second, first_end, second_end):
        os.close(fd)


async def test_trio_runs_after_a_bounded_number_of_callbacks(
    reactor: Reactor, ends: tuple[int, int]
) -> None:
    """However many descriptors are always ready, few callbacks run between two passes of Trio."""
    calls = 0
    most = 0

    def handler(events: int) -> None:
        nonlocal calls, most
        calls += 1
        most = max(most, calls)

    several = [os.dup(ends[1]) for _ in range(50)]
    for fd in several:
        reactor.register(fd, WRITABLE, handler)
    for _ in range(200):
        await trio.lowlevel.checkpoint()
        calls = 0
    # Trio runs its tasks in any order, so another task may be last in one turn, first in the next.
    assert 0 < most <= 2 * (_EVENTS + len(several))
    for fd in several:
        reactor.unregister(fd)
        os.close(fd)


def test_descriptor_made_ready_by_a_callback_is_served_in_the_same_turn(
    ends: tuple[int, int],
) -> None:
    """A descriptor that a callback makes ready is served without a pass through Trio's
    scheduler."""
    reactor = Reactor(lambda: 0.0, others_are_ready=lambda: False)
    read, write = ends
    served = []

    def handler(events: int) -> None:
        served.append(os.read(read, 1))
        if len(served) < 10:
            os.write(write, b"x")

    reactor.register(read, READABLE, handler)
    os.write(write, b"x")
    reactor._serve()
    assert len(served) == 10
    reactor.unregister(read)
    reactor.close()


async def test_idle_reactor_does_not_wake(
    reactor: Reactor, ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing happens the reactor does not wake, with any number of descriptors and
    deadlines."""
    turns = 0
    serve = reactor._serve

    def counted() -> bool:
        nonlocal turns
        turns += 1
        return serve()

    reactor.register(ends[0], READABLE, lambda events: None)
    reactor.call_at(trio.current_time() + 100, lambda: None)
    monkeypatch.setattr(reactor, "_serve", counted)
    await trio.sleep(0.2)
    assert turns <= 2
    reactor.unregister(ends[0])


# Before it sleeps.


class Watched:
    """An epoll that notes how long each look at it was to last, in seconds, and before one of them
    lets something happen."""

    def __init__(self) -> None:
        self.looks: list[float] = []
        self.before: dict[int, Callable[[], object]] = {}
        self._epoll = select.epoll()
        self.register = self._epoll.register
        self.unregister = self._epoll.unregister
        self.close = self._epoll.close

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        self.before.pop(len(self.looks), lambda: None)()
        self.looks.append(timeout)
        return self._epoll.poll(timeout, most)


class Turns:
    """A reactor whose turns are taken one by one, and that reads what comes by a pipe."""

    def __init__(self, watched: Watched, read: int, write: int) -> None:
        self.watched = watched
        self.reactor = Reactor(lambda: 0.0, others_are_ready=lambda: False)
        self.reactor.close()
        self.heard: list[bytes] = []
        self._read, self._write = read, write

    def say(self) -> None:
        os.write(self._write, b"x")

    def hear(self, events: int) -> None:
        self.heard.append(os.read(self._read, 1))

    def take(self) -> list[float]:
        """One turn. The looks that it took."""
        begin = len(self.watched.looks)
        assert not self.reactor._serve()
        return self.watched.looks[begin:]


@pytest.fixture
def turns(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    watched = Watched()
    turns = Turns(watched, *ends)
    monkeypatch.setattr(turns.reactor, "_epoll", watched)
    turns.reactor.register(ends[0], READABLE, turns.hear)
    yield turns
    turns.reactor.unregister(ends[0])
    turns.reactor.close()


def test_answer_within_a_doze_is_served_without_trio(turns: Turns) -> None:
    """While replicas work, answers that come within a millisecond cost no pass through Trio, for as
    long as they come."""
    turns.reactor.working = _CORES
    turns.watched.before = {1: turns.say, 3: turns.say}
    assert turns.take() == [0.0, _POLL_TIMEOUT, 0.0, _POLL_TIMEOUT, 0.0, _POLL_TIMEOUT]
    assert len(turns.heard) == 2


def test_doze_without_an_event_ends_the_turn(turns: Turns) -> None:
    """However long replicas work, Trio's other tasks wait for one doze only."""
    turns.reactor.working = _CORES
    assert [turns.take() for _ in range(20)] == [[0.0, _POLL_TIMEOUT]] * 20


def test_idle_reactor_does_not_doze(turns: Turns) -> None:
    """Where no answer is due the reactor sleeps in Trio at once, except for an occasional poll."""
    assert all(look == 0.0 for _ in range(20) for look in turns.take())


def test_doze_delays_no_trio_task(turns: Turns) -> None:
    """The reactor does not sleep in its epoll while another task could run."""
    turns.reactor.working = _CORES
    turns.reactor._others_are_ready = lambda: True
    turns.say()
    assert turns.take() == [0.0, 0.0]


def test_polling_without_events_stops_and_is_tried_again(turns: Turns) -> None:
    """After some turns in which polling again found nothing the reactor stops it, except for one
    try in so many; an event in such a try restarts it."""
    often, seldom = 1 + _SPIN_LIMIT, 1
    left = [seldom] * (_TRY - 1) + [often]
    assert [len(turns.take()) for _ in range(3 * _TRY)] == left * 3
    assert [len(turns.take()) for _ in range(_TRY - 1)] == left[:-1]
    turns.watched.before = {len(turns.watched.looks) + 40: turns.say}
    assert len(turns.take()) == 41 + often + 1  # a doze, since something has happened
    assert len(turns.heard) == 1
    looked = [len(turns.take()) > seldom for _ in range(4 * _TRY)]
    assert all(looked[:_TRY])
    assert looked[2 * _TRY :].count(True) == 2


def test_polling_takes_no_core_from_a_replica(turns: Turns) -> None:
    """With a replica at work on each core the reactor does not poll again, even where it found
    events."""
    turns.reactor._spin_credit = 10
    turns.reactor.working = _CORES
    assert turns.take() == [0.0, _POLL_TIMEOUT]


@fault(
    "a thousand tasks at once",
    injection="hundreds of tasks become ready in one step, as when clients hang up",
    bound="predictions are served between them, each millisecond",
)
async def test_ready_descriptor_is_served_between_ready_tasks(
    nursery: trio.Nursery, ends: tuple[int, int]
) -> None:
    """Hundreds of ready tasks run in one pass of Trio. Once they have taken a millisecond, a ready
    descriptor is served after the next step, not after all of them."""
    time, steps, served = 0.0, 0, list[int]()
    reactor = Reactor(lambda: time, others_are_ready=lambda: True)
    read, write = ends

    def handler(events: int) -> None:
        os.read(read, 1)
        served.append(steps)

    async def step() -> None:
        nonlocal time, steps
        await go.wait()
        steps += 1
        time += 0.0004
        if steps == 100:
            os.write(write, b"x")

    go = trio.Event()
    reactor.register(read, READABLE, handler)
    nursery.start_soon(reactor.run)
    for _ in range(500):
        nursery.start_soon(step)
    await trio.testing.wait_all_tasks_blocked()
    go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert steps == 500
    assert len(served) == 1
    assert served[0] <= 104
    reactor.unregister(read)
    nursery.cancel_scope.cancel()


async def test_exception_between_two_steps_ends_the_reactor(ends: tuple[int, int]) -> None:
    """A callback that raises between two steps ends the reactor as well."""
    time = 0.0
    reactor = Reactor(lambda: time)
    read, write = ends

    def handler(events: int) -> None:
        raise AssertionError("a mistake of ours")

    async def write_later() -> None:
        nonlocal time
        await trio.testing.wait_all_tasks_blocked()
        os.write(write, b"x")
        time = 1.0

    reactor.register(read, READABLE, handler)
    with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="a mistake of ours")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_later)
            nursery.start_soon(reactor.run)
    assert isinstance(reactor._error, AssertionError), "it was served between two steps"
    reactor.unregister(read)
    reactor.close()
