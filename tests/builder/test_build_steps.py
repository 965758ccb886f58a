"""Steps follow their table, and every event returns new steps."""

import re

import pytest

from builder.build_steps import (
    BUILD_SCRIPT,
    ENVIRONMENT,
    NEXT,
    SNAPSHOT,
    SNAPSHOT_TAKEN,
    STEPS,
    BuildSteps,
    IllegalStep,
    now,
)


def test_new_steps_are_waiting() -> None:
    """New steps are all waiting."""
    assert [step.name for step in BuildSteps().steps] == list(STEPS)
    assert {step.state for step in BuildSteps().steps} == {"waiting"}


def test_events() -> None:
    """A step keeps when it began and how long it took; the steps before the event are unchanged."""
    running = BuildSteps().start(ENVIRONMENT, "2026-11-21T02:35:00.123456Z")
    done = running.finish(ENVIRONMENT, 1.5)
    assert running[ENVIRONMENT].state == "running"
    assert done[ENVIRONMENT].state == "done"
    assert done[ENVIRONMENT].started_at == "2026-11-21T02:35:00.123456Z"
    assert done[ENVIRONMENT].seconds == 1.5
    assert done[BUILD_SCRIPT].state == "waiting"
    assert running.fail(ENVIRONMENT, 2.0)[ENVIRONMENT].state == "failed"
    assert running.skip(ENVIRONMENT)[ENVIRONMENT].state == "skipped"


def test_unknown_event_of_a_step_is_refused() -> None:
    """An event that the table does not have is refused by name."""
    with pytest.raises(IllegalStep, match="ENVIRONMENT is waiting: it cannot finish"):
        BuildSteps().finish(ENVIRONMENT, 1.0)
    with pytest.raises(IllegalStep, match="SNAPSHOT is done: it cannot start"):
        SNAPSHOT_TAKEN.start(SNAPSHOT, now())


def test_ended_step_is_final() -> None:
    """Nothing follows done, failed or skipped."""
    assert {state for state, _ in NEXT} == {"waiting", "running"}


def test_times_have_microseconds_and_z() -> None:
    """Times have microseconds and end in Z."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", now())
