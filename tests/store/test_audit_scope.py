"""A deed and its entry: both are there, or neither is."""

import aiosqlite
import pytest
import trio
import trio.testing

import store
from store import AuditEntry, Database, NameTaken, PendingAuditEntry, Project, audit, projects
from tests.support.records import a_project


def describe(value: object) -> AuditEntry:
    made = value.name if isinstance(value, Project) else ""
    return AuditEntry(who="ada", address="::1", request_id="r", action="act", object=made)


async def entries(database: Database) -> list[str]:
    return [entry.object for entry in await database.read(audit.list_newest)]


async def test_first_change_writes_the_entry(database: Database) -> None:
    """An operation of several changes has one entry, with the result of its first change."""
    deed = PendingAuditEntry(describe)
    with store.auditing(deed):
        first = await database.write(projects.insert, a_project())
        await database.write(projects.update, first.id, description="x")
    assert deed.entered
    assert await entries(database) == [first.name]


async def test_refused_change_writes_no_entry(database: Database) -> None:
    """A refused change rolls back its entry; the next change writes it."""
    taken = await database.write(projects.insert, a_project())
    deed = PendingAuditEntry(describe)
    with store.auditing(deed):
        with pytest.raises(NameTaken):
            await database.write(projects.insert, a_project(name=taken.name))
        assert (deed.entered, await entries(database)) == (False, [])
        made = await database.write(projects.insert, a_project())
    assert await entries(database) == [made.name]


async def test_change_without_its_entry_is_rolled_back(database: Database) -> None:
    """If its entry cannot be written, the change is rolled back."""

    def fail(value: object) -> AuditEntry:
        raise ZeroDivisionError

    with store.auditing(PendingAuditEntry(fail)), pytest.raises(ZeroDivisionError):
        await database.write(projects.insert, a_project())
    assert await database.read(projects.list_all) == []


async def test_task_belongs_to_the_operation_that_started_it(database: Database) -> None:
    """A task that is started in an operation is part of it, until the operation is over."""
    deed, over = PendingAuditEntry(describe), trio.Event()

    async def later() -> None:
        await over.wait()
        await database.write(projects.insert, a_project())

    async with trio.open_nursery() as nursery:
        with store.auditing(deed):
            async with trio.open_nursery() as within:
                within.start_soon(database.write, projects.insert, made := a_project())
            nursery.start_soon(later)
        over.set()
    other = PendingAuditEntry(describe)
    assert await entries(database) == [made.name]
    with store.auditing(other):
        pass
    assert not other.entered


async def test_task_after_its_operation_writes_no_entry(database: Database) -> None:
    """A task writes without the entry of its operation once the operation is over."""
    deed, over = PendingAuditEntry(describe), trio.Event()

    async def later() -> None:
        await over.wait()
        await database.write(projects.insert, a_project())

    async with trio.open_nursery() as nursery:
        with store.auditing(deed):
            nursery.start_soon(later)
            await trio.testing.wait_all_tasks_blocked()
        over.set()
    assert (deed.entered, await entries(database)) == (False, [])


async def test_concurrent_changes_write_one_entry(database: Database) -> None:
    """The first of two concurrent tasks writes the entry, and only that one."""
    with store.auditing(PendingAuditEntry(describe)):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(database.write, projects.insert, a_project())
    assert len(await entries(database)) == 1
    assert len(await database.read(projects.list_all)) == 2


async def test_change_outside_an_operation_writes_no_entry(database: Database) -> None:
    """Changes that the gateway makes on its own account write no entry."""

    async def nothing(connection: aiosqlite.Connection) -> None:
        await connection.execute("SELECT 1")

    await database.write(nothing)
    assert await entries(database) == []
