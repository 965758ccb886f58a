"""One change of a project at a time; a replaced folder stays while it is read."""

import trio
from trio.testing import wait_all_tasks_blocked

from gateway.control.project_locks import ProjectLocks


async def test_changes_of_one_project_wait_for_each_other() -> None:
    """Those of another project do not, and nothing is remembered of projects at rest."""
    locks, running = ProjectLocks(), set[str]()

    async def change(project: str) -> None:
        async with locks.changing(project):
            assert project not in running
            running.add(project)
            await wait_all_tasks_blocked()
            running.remove(project)

    async with trio.open_nursery() as nursery:
        for project in "aabab":
            nursery.start_soon(change, project)
    assert not locks._locks
    assert not locks._users


async def test_unread_waits_for_readers_that_began_before() -> None:
    """Readers that begin later read the new folder."""
    locks, unread = ProjectLocks(), trio.Event()

    async def discard() -> None:
        await locks.unread("a")
        unread.set()

    async with trio.open_nursery() as nursery:
        with locks.reading("a"):
            nursery.start_soon(discard)
            await wait_all_tasks_blocked()
            assert not unread.is_set()
            later = locks.reading("a")
            later.__enter__()
        await unread.wait()
        later.__exit__(None, None, None)
    assert not locks._readers
