"""The folder of a project: where it is, how it gets its first files, and how it is deleted.

A new project is filled from a template before its creator is answered, or by a clone in the
background. Its row says how that ended. A folder that a user has linked is never deleted.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

import builder
import store
from builder import CloneGuard, RepositoryAddress, clone
from gateway.background import Tasks
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.disk.removal_queue import RemovalQueue, remove
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.project_locks import ProjectLocks
from gateway.control.projects.templates import TEMPLATES, copy_template
from gateway.control.retrying_writer import RetryingWriter
from gateway.data_folder import DataFolder
from gateway.errors import Refusal
from gateway.set_aside import SetAside
from store import Database, Project

# Clones that run at once, shared between users.
_CLONES = 2


class _Clone:
    """A clone that runs: `scope` ends it, `ended` is set when nothing of it runs."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class ProjectFiles:
    """The folders of all projects. `git_runner` runs git for a project, within limits."""

    def __init__(
        self,
        *,
        database: Database,
        writer: RetryingWriter,
        data: DataFolder,
        tasks: Tasks,
        git_runner: Callable[[Project], Awaitable[builder.Run]],
        project_usage: ProjectUsage,
        locks: ProjectLocks,
        removal_queue: RemovalQueue,
        set_aside: SetAside,
    ) -> None:
        self._database = database
        self._writer = writer
        self._data = data
        self._tasks = tasks
        self._git_runner = git_runner
        self._project_usage = project_usage
        self._locks = locks
        self._removal_queue = removal_queue
        self._set_aside = set_aside
        self._clones: dict[str, _Clone] = {}  # by the project's id
        self._semaphore = FairSemaphore(_CLONES)

    async def recover(self) -> None:
        """Records that a clone that an earlier gateway did not finish has failed."""
        for project in await self._database.read(store.projects.list_all):
            if project.creation_status == "creating":
                with self._set_aside.item(f"project {project.name!r}", Path(project.path)):
                    await self._writer.write_or_retry_later(
                        store.projects.update,
                        project.id,
                        creation_status="failure",
                        creation_error="the gateway ended while it was being cloned",
                    )

    def own_folder(self, project_id: str) -> Path:
        """Where the files of a project lie that is not linked."""
        return self._data.projects / project_id

    async def linked_folder(self, path: str) -> Path:
        """The folder on this machine that a project is linked to. Raises Refusal for one that is
        not there, is predictd's own, or is another project's."""
        folder = await trio.to_thread.run_sync(_real_folder, path)
        root = self._data.root
        if root.is_relative_to(folder) or folder.is_relative_to(root):
            raise Refusal("argument.invalid", f"path: {folder} is where predictd's own data lies")
        taken = await self._database.read(store.projects.by_path, str(folder))
        if taken is not None:
            raise Refusal("name.taken", f"{folder} is the folder of project {taken.name!r}")
        return folder

    async def fill_from_template(self, project: Project) -> Project:
        """Copies the project's template, if it has one."""
        return await self._fill(project, partial(_lay_out, project))

    def start_clone(self, project: Project, address: RepositoryAddress, *, guarded: bool) -> None:
        """Clones in the background. The credentials in the address are in memory until then and
        are never written."""
        self._clones[project.id] = running = _Clone()
        self._tasks.start(self._clone_later, project, address, guarded, running)

    async def _clone_later(
        self, project: Project, address: RepositoryAddress, guarded: bool, running: _Clone
    ) -> None:
        """Ends when the project is deleted meanwhile."""
        try:
            with running.scope:
                async with self._semaphore.acquire(project.creator):
                    await self._fill(project, partial(self._clone, project, address, guarded))
        except store.NotFound:
            # Deleted at the moment when the clone began: the deletion knew nothing of it.
            await self._remove(Path(project.path))
        finally:
            del self._clones[project.id]
            running.ended.set()

    async def _clone(self, project: Project, address: RepositoryAddress, guarded: bool) -> None:
        run, target = await self._git_runner(project), Path(project.path)
        guard = CloneGuard() if guarded else None
        await clone(address, project.git_ref, target, run=run, guard=guard)
        await self._project_usage.look(project, target)

    async def _fill(self, project: Project, work: Callable[[], Awaitable[None]]) -> Project:
        problem = ""
        try:
            await work()
        except builder.BuilderError as error:
            problem = f"{error.summary}: {error.problem}"
        except (OSError, TimeoutError) as error:
            problem = str(error)
        return await self._database.write(
            store.projects.update,
            project.id,
            creation_status="failure" if problem else "success",
            creation_error=problem,
        )

    async def delete(self, project: Project) -> None:
        """Ends a clone that runs, and removes the folders of a project whose row is gone."""
        if (running := self._clones.get(project.id)) is not None:
            running.scope.cancel()
            await running.ended.wait()
        paths = [self._data.snapshots(project.id), self._data.pip_cache(project.id)]
        if not project.linked:
            paths += [Path(project.path), self._data.upload_record(project.id)]
        async with self._locks.changing(project.id):
            for path in paths:
                await self._removal_queue.remove(partial(self._remove, path))

    async def _remove(self, path: Path) -> None:
        await trio.to_thread.run_sync(remove, path, self._set_aside)


async def _lay_out(project: Project) -> None:
    if not project.linked or project.template:
        template = TEMPLATES.get(project.template.lower(), "")
        await trio.to_thread.run_sync(copy_template, template, Path(project.path))


def _real_folder(text: str) -> Path:
    if not Path(text).is_absolute() or not Path(text).is_dir():
        raise Refusal("argument.invalid", f"path: {text!r} is no folder on this machine")
    return Path(text).resolve()
