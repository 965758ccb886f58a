"""Places shared between projects: who gets one, who waits, and what one project cannot do."""

from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.fair_slots import MOST_IDLE, FairSemaphore, Turns

PROJECTS = "ABCDE"


def begun(turns: Turns[str], now: float = 0.0) -> list[str]:
    """All that get a place now."""
    found = []
    while (waiter := turns.begin(now)) is not None:
        found.append(waiter)
    return found


def join(turns: Turns[str], *waiters: str, now: float = 0.0) -> None:
    """Waiters are named by their project and a number."""
    for waiter in waiters:
        turns.join(waiter[0], waiter, now)


def test_one_project_alone_has_all_places_but_those_kept() -> None:
    """Without others a project has the places that there are, and no more."""
    turns: Turns[str] = Turns(2)
    join(turns, "A1", "A2", "A3")
    assert begun(turns) == ["A1", "A2"]
    assert not turns.is_free("A")
    assert turns.is_free("B")


def test_a_project_with_none_running_does_not_wait_for_one_that_has_all() -> None:
    """Where one project holds all places, each other one still gets its first."""
    turns: Turns[str] = Turns(2)
    join(turns, "A1", "A2", "A3", "B1", "B2", "C1", "D1")
    assert begun(turns) == ["A1", "B1", "C1", "D1"]
    turns.end("D", 1.0)
    join(turns, "E1", now=1.0)
    assert begun(turns, 1.0) == ["E1"]


def test_the_project_with_the_fewest_running_is_next() -> None:
    """A project that asked for a hundred before others is served no sooner than they are."""
    turns: Turns[str] = Turns(1)
    join(turns, "A1", "A2", "A3", "A4")
    assert begun(turns) == ["A1"]
    join(turns, "B1", "B2")
    assert begun(turns) == ["B1"]
    turns.end("B", 1.0)
    assert begun(turns, 1.0) == ["B2"]
    turns.end("A", 2.0)
    turns.end("B", 2.0)
    join(turns, "B3", now=2.0)
    # Neither has one running, and B has had its places for as long as A its own.
    assert begun(turns, 2.0)[:1] == ["A2"]


def test_of_equals_the_one_that_had_less_time_is_next() -> None:
    """A project of long builds gets as much time as one of short ones, and no more."""
    turns: Turns[str] = Turns(1, each=1)
    now, had = 0.0, Counter[str]()
    lasts = {"A": 10.0, "B": 1.0, "C": 1.0}
    for number in range(200):
        join(turns, *(f"{each}{number}" for each in lasts), now=now)
    running: dict[str, float] = {}
    while now < 300:
        running |= {waiter[0]: now + lasts[waiter[0]] for waiter in begun(turns, now)}
        project = min(running, key=lambda each: running[each])
        now = running.pop(project)
        had[project] += int(lasts[project])
        turns.end(project, now)
    assert max(had.values()) - min(had.values()) <= 2 * max(lasts.values())


def test_having_been_idle_earns_nothing() -> None:
    """A project that comes late is not served until it has had as much as the others before it."""
    turns: Turns[str] = Turns(1, each=1)
    for number in range(10):
        join(turns, f"A{number}", f"B{number}", now=10.0 * number)
        assert len(begun(turns, 10.0 * number)) == 2
        turns.end("A", 10.0 * number + 10)
        turns.end("B", 10.0 * number + 10)
    join(turns, "A10", "A11", "C1", "C2", "C3", "B10", "B11", now=100.0)
    order: list[str] = []
    while batch := begun(turns, now := 100.0 + len(order)):
        order += batch
        for each in batch:
            turns.end(each[0], now + 1)
    assert order.index("C3") > order.index("A10")
    assert order.index("C3") > order.index("B10")


def test_more_places_and_fewer() -> None:
    """With fewer places than are taken, none is given until enough have been given back."""
    turns: Turns[str] = Turns(3)
    join(turns, *(f"A{number}" for number in range(6)))
    assert len(begun(turns)) == 3
    turns.most = 1
    turns.end("A", 1.0)
    turns.end("A", 1.0)
    assert begun(turns, 1.0) == []
    turns.end("A", 2.0)
    assert begun(turns, 2.0) == ["A3"]


def test_those_who_leave_are_passed_over() -> None:
    """A waiter that leaves gets no place, and its project is forgotten."""
    turns: Turns[str] = Turns(1)
    join(turns, "A1", "A2", "A3")
    assert begun(turns) == ["A1"]
    turns.leave("A", "A2")
    turns.end("A", 1.0)
    assert begun(turns, 1.0) == ["A3"]


def test_those_who_come_once_are_not_kept_for_ever() -> None:
    """Networks without number try a password each. As the queue's own time stood still, all of
    them were remembered, and looked at each time. The one that had most is remembered."""
    turns: Turns[str] = Turns(1)
    for number in range(5 * MOST_IDLE):
        name, now = f"network {number}", float(number)
        turns.join(name, name, now)
        assert begun(turns, now) == [name]
        turns.end(name, now + (0.9 if number == 7 else 0.1))
    assert len(turns._projects) <= MOST_IDLE
    assert "network 7" in turns._projects


@given(
    most=st.integers(1, 4),
    events=st.lists(st.tuples(st.sampled_from(PROJECTS), st.sampled_from(["join", "end"]))),
)
def test_laws(most: int, events: list[tuple[str, str]]) -> None:
    """Never more than twice as many as there are places; a project beyond its first only within
    them; none waits while it could go on; one with nothing running waits only while more than
    `most` others run; within a project, in order."""
    turns: Turns[str] = Turns(most)
    running: Counter[str] = Counter()
    waiting: dict[str, list[str]] = {each: [] for each in PROJECTS}
    for number, (project, event) in enumerate(events):
        now = float(number)
        if event == "join":
            turns.join(project, f"{project}{number}", now)
            waiting[project].append(f"{project}{number}")
        elif running[project]:
            turns.end(project, now)
            running[project] -= 1
        while (waiter := turns.begin(now)) is not None:
            assert waiter == waiting[waiter[0]].pop(0)
            assert running[waiter[0]] == 0 or running.total() < most
            running[waiter[0]] += 1
        assert turns.running == running.total() <= 2 * most
        for each in PROJECTS:
            if waiting[each]:
                assert running.total() >= most
                others = sum(1 for other in PROJECTS if other != each and running[other])
                assert running[each] or others > most


async def test_cancelled_while_it_waits_and_while_it_holds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A task that is cancelled takes no place along, whether it waits for it or has it."""
    places, order = FairSemaphore(1), []

    async def hold(name: str, seconds: float) -> None:
        async with places.slot(name[0]):
            order.append(name)
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, "A1", 10)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await hold("A2", 1)
        assert order == ["A1"]
        assert not places.is_free("A")
        nursery.start_soon(hold, "A3", 5)
        with trio.move_on_after(1):
            await hold("B1", 100)
        assert places.is_free("B")
    assert order == ["A1", "B1", "A3"]
    assert places.is_free("A")


@pytest.mark.parametrize("waiters", [1, 3])
async def test_each_has_a_bound_of_its_own(waiters: int) -> None:
    """With a bound for each, more of one project wait, and no other project does."""
    places = FairSemaphore(2, each=1)
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            async with places.slot("A"):
                await trio.sleep_forever()

        for _ in range(waiters):
            nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        assert not places.is_free("A")
        async with places.slot("B"), places.slot("C"):
            pass
        nursery.cancel_scope.cancel()
