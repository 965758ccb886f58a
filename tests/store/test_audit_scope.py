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


async def test_the_first_change_carries_the_entry(database: Database) -> None:
    """A deed of several changes has one entry, told what its first one came to."""
    deed = PendingAuditEntry(describe)
    with store.auditing(deed):
        first = await database.write(projects.insert, a_project())
        await database.write(projects.update, first.id, description="x")
    assert deed.entered
    assert await entries(database) == [first.name]


async def test_what_did_not_happen_is_not_entered(database: Database) -> None:
    """A change that is refused takes the entry with it; the next one carries it."""
    taken = await database.write(projects.insert, a_project())
    deed = PendingAuditEntry(describe)
    with store.auditing(deed):
        with pytest.raises(NameTaken):
            await database.write(projects.insert, a_project(name=taken.name))
        assert (deed.entered, await entries(database)) == (False, [])
        made = await database.write(projects.insert, a_project())
    assert await entries(database) == [made.name]


async def test_what_cannot_be_entered_does_not_happen(database: Database) -> None:
    """Without its entry the change is rolled back."""

    def fail(value: object) -> AuditEntry:
        raise ZeroDivisionError

    with store.auditing(PendingAuditEntry(fail)), pytest.raises(ZeroDivisionError):
        await database.write(projects.insert, a_project())
    assert await database.read(projects.list_all) == []


async def test_tasks_belong_to_the_deed_that_started_them(database: Database) -> None:
    """A task that is started in a deed is part of it, until the deed is over."""
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


async def test_what_comes_after_a_deed_that_changed_nothing_is_not_it(database: Database) -> None:
    """A task that it started writes without its entry once the deed is over."""
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


async def test_two_changes_at_once_carry_one_entry(database: Database) -> None:
    """Whichever of two tasks is first carries the entry, and only that one."""
    with store.auditing(PendingAuditEntry(describe)):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(database.write, projects.insert, a_project())
    assert len(await entries(database)) == 1
    assert len(await database.read(projects.list_all)) == 2


async def test_outside_of_a_deed_nothing_is_entered(database: Database) -> None:
    """What the gateway does on its own account writes no entry."""

    async def nothing(connection: aiosqlite.Connection) -> None:
        await connection.execute("SELECT 1")

    await database.write(nothing)
    assert await entries(database) == []
