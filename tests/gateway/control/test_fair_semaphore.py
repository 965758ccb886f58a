"""A semaphore shared between projects: which waiter is next, and what one project cannot do."""

from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.fair_semaphore import MAX_IDLE, FairSchedule, FairSemaphore

PROJECTS = "ABCDE"


def begun(schedule: FairSchedule[str], now: float = 0.0) -> list[str]:
    """All that get a permit now."""
    found = []
    while (waiter := schedule.begin(now)) is not None:
        found.append(waiter)
    return found


def join(schedule: FairSchedule[str], *waiters: str, now: float = 0.0) -> None:
    """Waiters are named by their project and a number."""
    for waiter in waiters:
        schedule.join(waiter[0], waiter, now)


def test_one_project_alone_has_all_permits_but_those_reserved() -> None:
    """Without others a project gets every permit, and none of those reserved for others."""
    schedule: FairSchedule[str] = FairSchedule(2)
    join(schedule, "A1", "A2", "A3")
    assert begun(schedule) == ["A1", "A2"]
    assert not schedule.is_free("A")
    assert schedule.is_free("B")


def test_a_project_with_none_running_does_not_wait_for_one_that_has_all() -> None:
    """While one project holds all permits, each other project still gets its first."""
    schedule: FairSchedule[str] = FairSchedule(2)
    join(schedule, "A1", "A2", "A3", "B1", "B2", "C1", "D1")
    assert begun(schedule) == ["A1", "B1", "C1", "D1"]
    schedule.end("D", 1.0)
    join(schedule, "E1", now=1.0)
    assert begun(schedule, 1.0) == ["E1"]


def test_the_project_with_the_fewest_running_is_next() -> None:
    """A project that asked for a hundred before others is served no sooner than they are."""
    schedule: FairSchedule[str] = FairSchedule(1)
    join(schedule, "A1", "A2", "A3", "A4")
    assert begun(schedule) == ["A1"]
    join(schedule, "B1", "B2")
    assert begun(schedule) == ["B1"]
    schedule.end("B", 1.0)
    assert begun(schedule, 1.0) == ["B2"]
    schedule.end("A", 2.0)
    schedule.end("B", 2.0)
    join(schedule, "B3", now=2.0)
    # Neither has one running, and B has held its permits for as long as A its own.
    assert begun(schedule, 2.0)[:1] == ["A2"]


def test_of_equals_the_one_that_had_less_time_is_next() -> None:
    """A project of long builds gets as much time as one of short ones, and no more."""
    schedule: FairSchedule[str] = FairSchedule(1, per_holder=1)
    now, had = 0.0, Counter[str]()
    lasts = {"A": 10.0, "B": 1.0, "C": 1.0}
    for number in range(200):
        join(schedule, *(f"{each}{number}" for each in lasts), now=now)
    running: dict[str, float] = {}
    while now < 300:
        running |= {waiter[0]: now + lasts[waiter[0]] for waiter in begun(schedule, now)}
        project = min(running, key=lambda each: running[each])
        now = running.pop(project)
        had[project] += int(lasts[project])
        schedule.end(project, now)
    assert max(had.values()) - min(had.values()) <= 2 * max(lasts.values())


def test_having_been_idle_earns_nothing() -> None:
    """A project that comes late is not served until it has had as much as the others before it."""
    schedule: FairSchedule[str] = FairSchedule(1, per_holder=1)
    for number in range(10):
        join(schedule, f"A{number}", f"B{number}", now=10.0 * number)
        assert len(begun(schedule, 10.0 * number)) == 2
        schedule.end("A", 10.0 * number + 10)
        schedule.end("B", 10.0 * number + 10)
    join(schedule, "A10", "A11", "C1", "C2", "C3", "B10", "B11", now=100.0)
    order: list[str] = []
    while batch := begun(schedule, now := 100.0 + len(order)):
        order += batch
        for each in batch:
            schedule.end(each[0], now + 1)
    assert order.index("C3") > order.index("A10")
    assert order.index("C3") > order.index("B10")


def test_a_lower_limit_gives_no_permit_until_enough_are_returned() -> None:
    """With a limit below the number in use, none is given until enough have been returned."""
    schedule: FairSchedule[str] = FairSchedule(3)
    join(schedule, *(f"A{number}" for number in range(6)))
    assert len(begun(schedule)) == 3
    schedule.limit = 1
    schedule.end("A", 1.0)
    schedule.end("A", 1.0)
    assert begun(schedule, 1.0) == []
    schedule.end("A", 2.0)
    assert begun(schedule, 2.0) == ["A3"]


def test_a_waiter_that_leaves_is_passed_over() -> None:
    """A waiter that leaves gets no permit, and its project is forgotten."""
    schedule: FairSchedule[str] = FairSchedule(1)
    join(schedule, "A1", "A2", "A3")
    assert begun(schedule) == ["A1"]
    schedule.leave("A", "A2")
    schedule.end("A", 1.0)
    assert begun(schedule, 1.0) == ["A3"]


def test_the_number_of_remembered_idle_projects_is_bounded() -> None:
    """An unbounded number of networks may each try a password once. The schedule remembers only
    MAX_IDLE of them, and among these the one that had the most time."""
    schedule: FairSchedule[str] = FairSchedule(1)
    for number in range(5 * MAX_IDLE):
        name, now = f"network {number}", float(number)
        schedule.join(name, name, now)
        assert begun(schedule, now) == [name]
        schedule.end(name, now + (0.9 if number == 7 else 0.1))
    assert len(schedule._holders) <= MAX_IDLE
    assert "network 7" in schedule._holders


@given(
    limit=st.integers(1, 4),
    events=st.lists(st.tuples(st.sampled_from(PROJECTS), st.sampled_from(["join", "end"]))),
)
def test_schedule_laws(limit: int, events: list[tuple[str, str]]) -> None:
    """Never more than twice `limit` permits are given; a project gets more than one only within
    `limit`; none waits while it could go on; one with nothing running waits only while more than
    `limit` others run; within a project, in order."""
    schedule: FairSchedule[str] = FairSchedule(limit)
    running: Counter[str] = Counter()
    waiting: dict[str, list[str]] = {each: [] for each in PROJECTS}
    for number, (project, event) in enumerate(events):
        now = float(number)
        if event == "join":
            schedule.join(project, f"{project}{number}", now)
            waiting[project].append(f"{project}{number}")
        elif running[project]:
            schedule.end(project, now)
            running[project] -= 1
        while (waiter := schedule.begin(now)) is not None:
            assert waiter == waiting[waiter[0]].pop(0)
            assert running[waiter[0]] == 0 or running.total() < limit
            running[waiter[0]] += 1
        assert schedule.running == running.total() <= 2 * limit
        for each in PROJECTS:
            if waiting[each]:
                assert running.total() >= limit
                others = sum(1 for other in PROJECTS if other != each and running[other])
                assert running[each] or others > limit


async def test_a_cancelled_task_keeps_no_permit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A task that is cancelled while it waits or while it holds a permit leaves none taken."""
    semaphore, order = FairSemaphore(1), []

    async def hold(name: str, seconds: float) -> None:
        async with semaphore.acquire(name[0]):
            order.append(name)
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, "A1", 10)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await hold("A2", 1)
        assert order == ["A1"]
        assert not semaphore.is_free("A")
        nursery.start_soon(hold, "A3", 5)
        with trio.move_on_after(1):
            await hold("B1", 100)
        assert semaphore.is_free("B")
    assert order == ["A1", "B1", "A3"]
    assert semaphore.is_free("A")


@pytest.mark.parametrize("waiters", [1, 3])
async def test_each_project_has_its_own_bound(waiters: int) -> None:
    """With a bound for each, more of one project wait, and no other project does."""
    semaphore = FairSemaphore(2, per_holder=1)
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            async with semaphore.acquire("A"):
                await trio.sleep_forever()

        for _ in range(waiters):
            nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        assert not semaphore.is_free("A")
        async with semaphore.acquire("B"), semaphore.acquire("C"):
            pass
        nursery.cancel_scope.cancel()
