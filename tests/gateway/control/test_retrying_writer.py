"""Writes that are retried until the disk accepts them."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest
import trio

import store
from gateway.background import Tasks
from gateway.control.retrying_writer import RetryingWriter
from store import Database


class Refusing:
    """Work that the disk refuses so often, and then accepts."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.tries = 0

    async def write(self, connection: aiosqlite.Connection, value: str) -> str:
        self.tries += 1
        if self.tries <= self.times:
            raise store.StoreFailed("no room")
        return value


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with store.open_database(tmp_path / "predictd.db") as database:
        yield database


@pytest.fixture
def writer(database: Database, nursery: trio.Nursery) -> RetryingWriter:
    return RetryingWriter(database, Tasks(nursery), pause=0.001)


async def test_a_refused_write_is_retried_until_accepted(writer: RetryingWriter) -> None:
    """A write that the disk refuses is retried until it is accepted, and its result returned."""
    work = Refusing(3)
    assert await writer.write_until_accepted(work.write, "done") == "done"
    assert work.tries == 4


async def test_other_errors_of_a_retried_write_are_raised(writer: RetryingWriter) -> None:
    """What the work raises itself is raised at once."""

    async def fail(connection: aiosqlite.Connection) -> None:
        raise store.NotFound("build", "x")

    with pytest.raises(store.NotFound):
        await writer.write_until_accepted(fail)


@pytest.mark.parametrize("times", [0, 2])
async def test_a_write_that_may_be_late_returns_after_one_try(
    writer: RetryingWriter, times: int
) -> None:
    """It returns after the first try, accepted or not; a refused write is retried later."""
    work = Refusing(times)
    await writer.write_or_retry_later(work.write, "done")
    assert work.tries == 1
    with trio.fail_after(30):
        while work.tries <= times:  # noqa: ASYNC110 - the store runs it in a thread of its own
            await trio.sleep(0.001)
    await trio.sleep(0.01)
    assert work.tries == times + 1
