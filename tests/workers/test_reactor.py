"""The reactor on a real epoll, in a real Trio loop."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from workers.process import pipe
from workers.reactor import _EVENTS, READABLE, WRITABLE, Reactor


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


async def test_a_ready_descriptor_is_called_back(reactor: Reactor, ends: tuple[int, int]) -> None:
    """While the reactor sleeps, bytes wake it, and the handler hears what happened."""
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


async def test_what_is_unregistered_in_a_turn_is_not_called(
    reactor: Reactor, ends: tuple[int, int]
) -> None:
    """Of two ready descriptors the first to be called may forget the other."""
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


async def test_other_events_can_be_asked_for(reactor: Reactor, ends: tuple[int, int]) -> None:
    """modify changes what a descriptor is watched for."""
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


async def test_a_timer_wakes_a_sleeping_reactor(
    reactor: Reactor, autojump_clock: trio.testing.MockClock
) -> None:
    """A deadline set while the reactor sleeps counts, be it sooner than the one it sleeps for."""
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


async def test_the_rest_of_the_process_gets_its_share(
    reactor: Reactor, ends: tuple[int, int]
) -> None:
    """A descriptor that is always ready does not keep other tasks from running."""
    reactor.register(ends[1], WRITABLE, lambda events: None)
    with trio.fail_after(10):
        for _ in range(100):
            await trio.lowlevel.checkpoint()
    reactor.unregister(ends[1])


async def test_a_mistake_in_a_callback_is_loud(ends: tuple[int, int]) -> None:
    """A callback that raises ends the reactor instead of a request silently."""
    reactor = Reactor()

    def mistake() -> None:
        raise AssertionError("a mistake of ours")

    reactor.call_at(trio.current_time(), mistake)
    with pytest.raises(AssertionError, match="a mistake of ours"):
        await reactor.run()
    reactor.close()


async def test_an_event_of_a_closed_descriptor_is_not_its_successors(reactor: Reactor) -> None:
    """Who closes one and opens another in the same turn gets its number, not its events."""
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


async def test_trio_runs_after_so_many_callbacks(reactor: Reactor, ends: tuple[int, int]) -> None:
    """However much is ready all the time, between two callbacks to other tasks there are few."""
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


def test_what_follows_is_served_in_the_same_turn(ends: tuple[int, int]) -> None:
    """What a callback makes ready is served without a pass through Trio's scheduler."""
    reactor = Reactor(lambda: 0.0)
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


async def test_idle_costs_nothing(
    reactor: Reactor, ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing happens the reactor does not wake, with however many descriptors registered
    and deadlines to come."""
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
