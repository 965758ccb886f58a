"""Deadlines: each comes once, in order, never early, and not at all when it was cancelled."""

from math import inf

import hypothesis.strategies as st
from hypothesis import given

from workers.reactor.timers import MovableTimer, Timer, Timers


def test_timer_fires_once_when_due() -> None:
    """A timer does not fire before its time, then once."""
    timers, calls = Timers(), list[int]()
    timers.call_at(5.0, lambda: calls.append(1))
    assert (timers.next_due(), len(timers)) == (5.0, 1)
    timers.run_due(4.9)
    assert calls == []
    timers.run_due(5.0)
    timers.run_due(6.0)
    assert calls == [1]
    assert (timers.next_due(), len(timers)) == (inf, 0)


def test_timers_of_equal_time_fire_in_order() -> None:
    """Of two timers with one time the older fires first."""
    timers, calls = Timers(), list[int]()
    for number in range(10):
        timers.call_at(1.0, lambda number=number: calls.append(number))  # type: ignore[misc]
    timers.run_due(1.0)
    assert calls == list(range(10))


def test_callback_may_set_and_cancel_timers() -> None:
    """A timer that a callback sets for now fires in the same turn; one that it cancels does not
    fire."""
    timers, calls = Timers(), list[str]()
    cancelled = timers.call_at(2.0, lambda: calls.append("cancelled"))

    def first() -> None:
        cancelled.cancel()
        timers.call_at(1.5, lambda: calls.append("second"))

    timers.call_at(1.0, first)
    timers.run_due(3.0)
    assert calls == ["second"]


def test_timer_may_be_cancelled_late_or_twice() -> None:
    """A timer that has fired, or was cancelled, can be cancelled again."""
    timers = Timers()
    come, cancelled = timers.call_at(1.0, bool), timers.call_at(9.0, bool)
    timers.run_due(1.0)
    for timer in (come, cancelled, come, cancelled):
        timer.cancel()
    assert (len(timers), timers.next_due()) == (0, inf)


def test_cancelled_timers_do_not_pile_up() -> None:
    """A deadline that is set and cancelled for every request does not hold memory for long."""
    timers = Timers()
    keep = timers.call_at(1e9, bool)
    for number in range(10_000):
        timers.call_at(30.0 + number, bool).cancel()
    assert len(timers._heap) < 200
    assert (len(timers), timers.next_due()) == (1, keep.due)


@given(
    st.lists(st.tuples(st.sampled_from(["set", "cancel", "run"]), st.integers(0, 30)), max_size=200)
)
def test_timers_equal_a_sorted_list(deeds: list[tuple[str, int]]) -> None:
    """Timers behave like the simplest correct model: a list that is sorted at each query."""
    timers, calls = Timers(), list[int]()
    made: list[Timer] = []
    waiting: dict[int, int] = {}  # number of a timer: when it is due
    for deed, value in deeds:
        if deed == "set":
            number = len(made)
            made.append(timers.call_at(value, lambda number=number: calls.append(number)))  # type: ignore[misc]
            waiting[number] = value
        elif deed == "cancel" and made:
            made[value % len(made)].cancel()
            waiting.pop(value % len(made), None)
        elif deed == "run":
            expected = sorted((due, n) for n, due in waiting.items() if due <= value)
            calls.clear()
            timers.run_due(value)
            assert calls == [n for _, n in expected]
            for number in calls:
                del waiting[number]
        assert len(timers) == len(waiting)
        assert timers.next_due() == min(waiting.values(), default=inf)


def test_alarm_that_is_moved_later_rings_at_its_last_deadline_only() -> None:
    """Moving an alarm later leaves its entry; when the entry comes up early, it is inserted
    again."""
    timers, rung = Timers(), list[float]()
    alarm = MovableTimer(timers.call_at, lambda: rung.append(now))
    for due in (10.0, 20.0, 30.0):
        alarm.set(due)
    assert len(timers) == 1
    for now in (9.0, 10.0, 20.0, 29.9, 30.0, 99.0):
        timers.run_due(now)
    assert rung == [30.0]


@given(st.lists(st.one_of(st.none(), st.integers(1, 50)), max_size=30))
def test_alarm_rings_only_at_its_deadline(moves: list[int | None]) -> None:
    """For any changes of its deadline, a movable timer fires at exactly the last one."""
    timers, rung, expected, due = Timers(), list[int](), list[int](), inf
    alarm = MovableTimer(timers.call_at, lambda: rung.append(now))
    for now, move in enumerate(moves):
        timers.run_due(now)
        if due <= now:
            expected.append(now)
            due = inf
        if move is None:
            alarm.clear()
            due = inf
        else:
            alarm.set(due := now + move)
        assert alarm.due == due
        assert len(timers) <= 1
    assert rung == expected


def test_closed_alarm_keeps_no_reference() -> None:
    """The owner of a closed alarm can be freed at once."""
    timers = Timers()
    alarm = MovableTimer(timers.call_at, lambda: None)
    alarm.set(5.0)
    alarm.close()
    assert len(timers) == 0
