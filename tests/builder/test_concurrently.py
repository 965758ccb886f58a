"""Independent parts of one step that run at once."""

import pytest
import trio

from builder.concurrently import run_all


async def test_parts_run_at_once() -> None:
    """A part can wait for another one."""
    ready = trio.Event()

    async def last() -> None:
        await ready.wait()

    async def first() -> None:
        ready.set()

    with trio.fail_after(10):
        await run_all(last, first)


async def test_error_of_a_part_is_raised_itself() -> None:
    """A caller can catch the error of a part by its class; the other parts are cancelled."""

    async def fails() -> None:
        raise TimeoutError("late")

    with trio.fail_after(10), pytest.raises(TimeoutError, match="late"):
        await run_all(trio.sleep_forever, fails)


async def test_cancelled_parts_end_as_a_call() -> None:
    """A cancellation of all parts is no error."""
    with trio.move_on_after(0.05) as scope:
        await run_all(trio.sleep_forever, trio.sleep_forever)
    assert scope.cancelled_caught
