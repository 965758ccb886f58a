"""Operations: their life in order, their end from outside, and how they are found meanwhile."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import store
from gateway.background import Tasks
from gateway.control.operation import Operation, Operations


class Sleeper:
    """Waits until it is cancelled; then raises what it was given, if anything."""

    def __init__(self, error: Exception | None = None) -> None:
        self.announced: list[str] = []
        self.operation = Operation(self.announced.append)
        self._error = error

    async def run(self) -> None:
        with self.operation.lifetime():
            with self.operation.cancellable("a sign"):
                await trio.sleep_forever()
            if self._error is not None:
                raise self._error


@pytest.fixture
async def operations() -> AsyncIterator[Operations[Sleeper]]:
    async with trio.open_nursery() as nursery:
        yield Operations(Tasks(nursery))
        nursery.cancel_scope.cancel()


def remember(
    seen: list[bool], operations: Operations[Sleeper]
) -> Callable[[Sleeper], Awaitable[object]]:
    async def after(task: Sleeper) -> None:
        seen.append(operations.get("id") is None and task.operation.ended.is_set())

    return after


@pytest.mark.parametrize("error", [None, store.NotFound("build", "id")])
async def test_an_operation_is_found_until_it_has_ended(
    operations: Operations[Sleeper], error: Exception | None
) -> None:
    """It says what it waits for; once it has ended, also because its record was deleted, it is not
    found any more, and only then the work that follows begins."""
    seen: list[bool] = []
    task = operations.start("id", Sleeper(error), remember(seen, operations))
    await wait_all_tasks_blocked()
    assert operations.get("id") is task
    assert list(operations) == [task]
    assert operations.waiting_for("id") == "a sign"
    assert not task.operation.milestone.is_set()
    with trio.fail_after(5):
        await task.operation.cancel_and_wait()
        await operations.wait_ended("id")
    await wait_all_tasks_blocked()
    assert seen == [True]
    assert list(operations) == []
    assert operations.waiting_for("id") == ""


async def test_an_operation_that_ends_has_passed_its_milestone() -> None:
    """Who waits for its milestone is not left waiting, however the operation ends."""
    operation = Operation()
    with pytest.raises(OSError, match="disk"), operation.lifetime():
        raise OSError("disk")
    assert operation.milestone.is_set()
    assert operation.ended.is_set()


async def test_a_cancelled_operation_begins_no_cancellable_block() -> None:
    """A cancellation counts for the blocks that begin after it as well."""
    operation = Operation()
    operation.cancel()
    with trio.fail_after(5), operation.cancellable("ever"):
        await trio.sleep_forever()
    assert operation.waiting_for == ""


def test_a_wait_is_announced_once() -> None:
    """What follows a colon may change without another announcement."""
    announced: list[str] = []
    operation = Operation(announced.append)
    for what in ("memory: 1 MiB", "memory: 2 MiB", "its turn"):
        operation.wait_for(what)
        assert operation.waiting_for == what
    assert announced == ["memory: 1 MiB", "its turn"]
