"""Work that continues when its client has disconnected."""

import pytest
import trio
from trio.testing import Sequencer

from gateway.background import Tasks


async def test_a_cancelled_caller_does_not_stop_the_work(nursery: trio.Nursery) -> None:
    """What was begun with `finish` ends, even if its caller is cancelled half-way."""
    tasks, sequence, done = Tasks(nursery), Sequencer(), trio.Event()

    async def work() -> None:
        async with sequence(0):
            pass
        async with sequence(2):
            done.set()

    async with trio.open_nursery() as callers:
        callers.start_soon(tasks.finish, work)
        async with sequence(1):
            callers.cancel_scope.cancel()
    await done.wait()


async def test_the_caller_gets_result_or_error(nursery: trio.Nursery) -> None:
    """`finish` gives what the work returned, or raises what it raised."""
    tasks = Tasks(nursery)

    async def double(number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return 2 * number

    assert await tasks.finish(double, 2) == 4
    with pytest.raises(ValueError, match="negative"):
        await tasks.finish(double, -1)


async def test_a_task_that_fails_ends_nothing_else(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """Background work that raises is logged, and other work continues."""
    tasks, done = Tasks(nursery), trio.Event()

    async def fail() -> None:
        raise ValueError("broken")

    async def succeed() -> None:
        done.set()

    tasks.start(fail)
    await trio.testing.wait_all_tasks_blocked()
    tasks.start(succeed)
    await done.wait()
    assert "background_task.failed" in caplog.text


async def test_only_the_end_of_the_gateway_cancels(nursery: trio.Nursery) -> None:
    """Work ends with the nursery it was given, and its caller with it."""
    ended = trio.Event()

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with trio.open_nursery() as context:
        Tasks(context).start(work)
        await trio.testing.wait_all_tasks_blocked()
        context.cancel_scope.cancel()
    assert ended.is_set()
