"""The audit trail: what is done and what is refused has its entry, and no more than that."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import store
from gateway.background import Tasks
from gateway.control.audit.audit_log import AuditEvent, AuditLog, annotate
from gateway.control.audit.refusal_limit import PER_ADDRESS
from gateway.control.retrying_writer import RetryingWriter
from gateway.errors import Refusal
from store import Database, Project
from tests.support.records import a_project

ACT = AuditEvent(user="ada", address="::1", action="project.create", object="/projects")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with store.open_database(tmp_path / "predictd.db") as database:
        yield database


@pytest.fixture
async def trail(database: Database, nursery: trio.Nursery) -> AuditLog:
    tasks = Tasks(nursery)
    return AuditLog(database=database, writer=RetryingWriter(database, tasks), tasks=tasks)


async def entries(database: Database) -> list[tuple[str, str, str, str]]:
    found = await database.read(store.audit.list_newest, most=1000)
    return [(e.action, e.object, e.outcome, e.detail) for e in found]


async def test_what_is_made_is_named(trail: AuditLog, database: Database) -> None:
    """The entry names what was made, by its id and its name; what was noted stands beside."""

    async def create(project: Project) -> Project:
        annotate("one")
        annotate("one")
        annotate("two")
        return await database.write(store.projects.insert, project)

    made = await trail.run_audited(_making(ACT), create, a_project("demo"))
    assert await entries(database) == [
        ("project.create", f"/projects/{made.id}", "done", "one; two; demo")
    ]


def _making(act: AuditEvent) -> AuditEvent:
    return AuditEvent(
        **{name: getattr(act, name) for name in act.__struct_fields__} | {"makes": True}
    )


async def test_what_changed_no_row_is_entered_all_the_same(
    trail: AuditLog, database: Database
) -> None:
    """Files are no rows: their change is entered when it has happened."""
    await trail.run_audited(ACT, trio.lowlevel.checkpoint)
    assert await entries(database) == [("project.create", "/projects", "done", "")]


async def test_a_refusal_is_entered_with_its_code(trail: AuditLog, database: Database) -> None:
    """A refusal is raised and entered; what was done before it is entered, too."""

    async def refuse(*before: Callable[[], Any]) -> None:
        for each in before:
            await each()
        raise Refusal("state.conflict", "no")

    with pytest.raises(Refusal):
        await trail.run_audited(ACT, refuse)
    with pytest.raises(Refusal):
        await trail.run_audited(
            ACT, refuse, lambda: database.write(store.projects.insert, a_project())
        )
    assert [outcome for _, _, outcome, _ in await entries(database)] == [
        "state.conflict",
        "done",
        "state.conflict",
    ]


async def test_what_clients_choose_is_cut_and_plain(trail: AuditLog, database: Database) -> None:
    """No part of an entry is long, or does anything to a terminal."""
    odd = AuditEvent(user="a\x1b[2J", address="x", action="a", object="/\n" + "y" * 9000)
    await trail.append(odd)
    (entry,) = await database.read(store.audit.list_newest)
    assert entry.who == "a?[2J"
    assert len(entry.object) == 300
    assert entry.object.isprintable()


async def test_a_flood_of_nobody_is_counted(trail: AuditLog, database: Database) -> None:
    """Of a flood a few are entered, and how many there were more, at the latest at the end."""
    nobody = AuditEvent(user="", address="192.0.2.1", action="a", object="/")
    for _ in range(100):
        await trail.refused(nobody, "auth.required")
    assert len(await entries(database)) == PER_ADDRESS
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trail.watch)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    *_, last = await entries(database)
    assert last[0] == "refused"
    assert last[3].startswith(f"{100 - PER_ADDRESS} more")
    for _ in range(100):
        await trail.refused(ACT, "auth.forbidden")
    assert len(await entries(database)) == PER_ADDRESS + 1 + 100


async def test_what_is_done_often_is_counted(
    trail: AuditLog, database: Database, nursery: trio.Nursery, autojump_clock: object
) -> None:
    """Of what is alike the first is entered with its change, then how many more there were: of
    each project and of each outcome by itself."""
    often = AuditEvent(
        user="ada", address="::1", action="metrics.delay", object="/metrics", often=True
    )

    async def change(project: str) -> None:
        annotate(f"project {project}")
        if project == "none":
            raise Refusal("auth.forbidden", "no")
        await database.write(store.projects.insert, a_project(f"{len(made)}"))
        made.append(project)

    made: list[str] = []
    for project in ("p", "q", "none"):
        for _ in range(3):
            with suppress(Refusal):
                await trail.run_audited(often, change, project)
    first = [
        ("metrics.delay", "/metrics", "done", "project p"),
        ("metrics.delay", "/metrics", "done", "project q"),
        ("metrics.delay", "/metrics", "auth.forbidden", "project none"),
    ]
    assert await entries(database) == first
    await trail._count()
    counted = [(*each[:3], f"2 more; {each[3]}") for each in first]
    assert await entries(database) == first + counted
    assert made == ["p"] * 3 + ["q"] * 3
