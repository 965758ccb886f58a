"""Transactions: whole or not at all, one at a time, and isolated."""

import threading
from pathlib import Path

import aiosqlite
import pytest
import trio
import trio.testing

from store import Database, Project, StoreFailed, StoreFull, open_database, projects
from tests.support.records import a_project


async def names(database: Database) -> list[str]:
    return [project.name for project in await database.read(projects.list_all)]


async def test_cancelled_caller_gets_its_whole_transaction(database: Database) -> None:
    """A caller cancelled in the middle gets its transaction committed as a whole, by no other
    caller."""
    cancelled = threading.Event()
    trio_token = trio.lowlevel.current_trio_token()

    with trio.CancelScope() as scope:

        def cancel_the_caller() -> None:
            scope.cancel()
            cancelled.set()

        async def insert_two(connection: aiosqlite.Connection) -> str:
            await projects.insert(connection, a_project("first"))
            trio_token.run_sync_soon(cancel_the_caller)
            assert cancelled.wait(timeout=10)  # holds the store's thread, not Trio's
            await projects.insert(connection, a_project("second"))
            return "both"

        assert await database.write(insert_two) == "both"
        with pytest.raises(trio.Cancelled):
            await trio.lowlevel.checkpoint()

    async def fail(connection: aiosqlite.Connection) -> None:
        raise LookupError  # were the rows still uncommitted, this would roll them back

    with pytest.raises(LookupError):
        await database.write(fail)
    assert await names(database) == ["first", "second"]


async def test_caller_cancelled_beforehand_writes_nothing(database: Database) -> None:
    """A write whose caller is cancelled before it is queued never begins."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await database.write(projects.insert, a_project())
    assert scope.cancelled_caught
    assert await names(database) == []


async def test_caller_cancelled_in_the_queue_is_served(database: Database) -> None:
    """A queued write is carried out even if its caller is cancelled meanwhile."""
    first_is_in = trio.Event()
    may_go_on = threading.Event()
    trio_token = trio.lowlevel.current_trio_token()

    async def hold(connection: aiosqlite.Connection) -> None:
        trio_token.run_sync_soon(first_is_in.set)
        assert may_go_on.wait(timeout=10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, hold)
        await first_is_in.wait()
        nursery.start_soon(database.write, projects.insert, a_project("queued"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        may_go_on.set()
    assert await names(database) == ["queued"]


async def test_exception_rolls_back(database: Database) -> None:
    """A transaction that raises leaves nothing, and its own exception reaches the caller."""
    reason = LookupError("no")

    async def insert_and_fail(connection: aiosqlite.Connection) -> None:
        await projects.insert(connection, a_project())
        raise reason

    with pytest.raises(LookupError) as caught:
        await database.write(insert_and_fail)
    assert caught.value is reason
    assert await names(database) == []
    await database.write(projects.insert, a_project("next"))
    assert await names(database) == ["next"]


async def test_writes_are_serialised(database: Database, project: Project) -> None:
    """Read-then-write transactions that run at once lose no update."""

    async def count_one_more(connection: aiosqlite.Connection) -> None:
        counted = int((await projects.get(connection, project.id)).description or "0")
        await projects.update(connection, project.id, description=str(counted + 1))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(database.write, count_one_more)
    assert (await database.read(projects.get, project.id)).description == "50"


async def test_read_sees_one_moment(database: Database) -> None:
    """A read does not see what is committed during it, and the write does not wait for the read."""
    has_looked = trio.Event()
    may_look_again = threading.Event()
    trio_token = trio.lowlevel.current_trio_token()
    seen: list[int] = []

    async def look_twice(connection: aiosqlite.Connection) -> None:
        seen.append(len(await projects.list_all(connection)))
        trio_token.run_sync_soon(has_looked.set)
        while not may_look_again.is_set():
            await connection.execute_fetchall("SELECT 1")
        seen.append(len(await projects.list_all(connection)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.read, look_twice)
        with trio.fail_after(10):
            await has_looked.wait()
            await database.write(projects.insert, a_project())
        may_look_again.set()
    assert seen == [0, 0]
    assert len(await names(database)) == 1


async def test_read_waits_for_a_free_reader(database: Database, project: Project) -> None:
    """Reads beyond the number of readers wait for one; a read that raises returns its reader."""
    found: list[Project] = []

    async def read(key: str) -> None:
        try:
            found.append(await database.read(projects.get, key))
        except Exception:
            assert key == "unknown"

    async with trio.open_nursery() as nursery:
        for key in [project.id, "unknown"] * 10:
            nursery.start_soon(read, key)
    assert found == [project] * 10


async def test_read_cannot_write(database: Database) -> None:
    """A reader refuses to change anything."""
    with pytest.raises(StoreFailed, match="readonly"):
        await database.read(projects.insert, a_project())
    assert await names(database) == []


async def test_a_full_disk_heals(database: Database) -> None:
    """When there is no room a write fails as a whole, reads go on, and with room writes go on."""

    async def limit_pages(connection: aiosqlite.Connection, pages: int) -> None:
        await connection.execute_fetchall(f"PRAGMA max_page_count = {pages}")

    await database.write(projects.insert, a_project("before"))
    await database.write(limit_pages, 1)  # SQLite takes the pages in use as the limit
    with pytest.raises(StoreFull, match="full"):
        await database.write(projects.insert, a_project("x" * 100_000))
    assert await names(database) == ["before"]
    await database.write(limit_pages, 1_000_000)
    await database.write(projects.insert, a_project("after"))
    assert await names(database) == ["before", "after"]


async def test_commits_are_durable_by_configuration(database: Database) -> None:
    """The writer runs in WAL mode, syncs every commit and enforces references."""

    async def pragma(connection: aiosqlite.Connection, name: str) -> object:
        ((value,),) = await connection.execute_fetchall(f"PRAGMA {name}")
        return value

    assert await database.write(pragma, "journal_mode") == "wal"
    assert await database.write(pragma, "synchronous") == 2
    assert await database.write(pragma, "foreign_keys") == 1
    assert await database.read(pragma, "wal_autocheckpoint") == 0


async def test_closed_database_is_one_private_file(database_path: Path) -> None:
    """A closed database is one file, private to its owner, and its threads are gone."""
    threads_before = threading.active_count()
    async with open_database(database_path) as database:
        await database.write(projects.insert, a_project("kept"))
    assert [file.name for file in database_path.parent.iterdir()] == ["predictd.db"]
    assert database_path.stat().st_mode & 0o077 == 0
    assert threading.active_count() <= threads_before + 1  # Trio keeps one idle for a while
    async with open_database(database_path) as database:
        assert await names(database) == ["kept"]


async def test_closed_database_raises(database_path: Path) -> None:
    """A database used after its end raises instead of hanging."""
    async with open_database(database_path) as database:
        pass
    with trio.fail_after(10), pytest.raises(trio.ClosedResourceError):
        await database.read(projects.list_all)


async def test_cancelled_block_closes_the_database(database_path: Path) -> None:
    """A database whose block is cancelled is closed all the same."""
    with trio.CancelScope() as scope:
        async with open_database(database_path):
            scope.cancel()
            await trio.sleep_forever()
    assert [file.name for file in database_path.parent.iterdir()] == ["predictd.db"]


@pytest.mark.parametrize("content", [b"not a database " * 1000, None])
async def test_file_that_is_no_database_is_refused(
    database_path: Path, content: bytes | None
) -> None:
    """A file that is no database, or a folder in its place, is named in a StoreFailed."""
    if content is None:
        database_path.mkdir()
    else:
        database_path.write_bytes(content)
    with pytest.raises(StoreFailed, match=str(database_path)):
        async with open_database(database_path):
            pytest.fail("it was opened")  # pragma: no cover
