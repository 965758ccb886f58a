"""Uploads: the files of a project become those of a manifest, at one instant.

A client first compares its manifest with the project, then sends the manifest with the contents
that the project lacks. Both requests are complete by themselves: nothing is remembered in between,
so an interrupted upload leaves nothing. Contents are found in this project only; if those of other
projects counted, a user could ask whether a file exists there.

What the last upload put into the project and the manifest has no more is deleted. Files that came
in other ways (`files put`, an experiment, a template, a clone) stay; where the manifest has such a
path, its file replaces them.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

import store
from builder import exchange, sync_file_system, sync_folder
from gateway.background import Tasks
from gateway.control.audit.audit_log import annotate
from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.disk.removal_queue import RemovalQueue, remove
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.project_locks import ProjectLocks
from gateway.control.projects.upload_record import read_record, write_record
from gateway.control.projects.upload_tree import CurrentTree, Difference
from gateway.data_folder import DataFolder
from gateway.errors import Refusal
from gateway.set_aside import SetAside
from gateway.upload_manifest import ManifestEntry, stored
from store import Database, Project

# A comparison or upload has up to 300,000 entries in memory.
_AT_ONCE = 2
_NAMED = 20


class Received(NamedTuple):
    """An upload that has arrived: its manifest, and a folder with the contents by their hash."""

    manifest: Path
    contents: Path
    size: int


class Uploaded(NamedTuple):
    """`replaced` are files that others had put into the project, and the manifest replaced."""

    files: int
    replaced: list[str]


class Uploads:
    """Compares manifests with projects, and makes projects equal to them."""

    def __init__(
        self,
        *,
        database: Database,
        data: DataFolder,
        disk: FreeSpace,
        project_usage: ProjectUsage,
        locks: ProjectLocks,
        temporary_files: TemporaryFiles,
        removal_queue: RemovalQueue,
        set_aside: SetAside,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._data = data
        self._disk = disk
        self._project_usage = project_usage
        self._locks = locks
        self._temporary_files = temporary_files
        self._removal_queue = removal_queue
        self._set_aside = set_aside
        self._tasks = tasks
        self._threads = trio.CapacityLimiter(_AT_ONCE)

    async def compare(self, project: Project, received: Received) -> Difference:
        """Raises Refusal."""
        async with self._locks.changing(project.id):
            _check_own(project)
            work = partial(self._compare, project, received)
            return await trio.to_thread.run_sync(work, limiter=self._threads)

    async def replace(self, project: Project, received: Received) -> Uploaded:
        """Makes the files of the project those of the manifest. Raises Refusal, or NotFound where
        the project was deleted meanwhile; then nothing has changed."""
        await self._disk.check_free("an upload")
        await self._project_usage.admit(project, "an upload", received.size)
        async with self._locks.changing(project.id):
            project = await self._database.read(store.projects.get, project.id)
            _check_own(project)
            old = await trio.to_thread.run_sync(self._temporary_files.name)
            work = partial(self._replace, project, received, old)
            uploaded = await trio.to_thread.run_sync(work, limiter=self._threads)
        annotate(f"{uploaded.files} files")
        self._tasks.start(self._discard, project.id, old)
        await self._project_usage.look(project, Path(project.path))
        return uploaded

    async def _discard(self, project_id: str, old: Path) -> None:
        """Removes a folder that was replaced, when no snapshot reads it any more. A start removes
        it, too."""
        await self._locks.unread(project_id)
        work = partial(remove, old, self._set_aside)
        await self._removal_queue.remove(partial(trio.to_thread.run_sync, work))

    def _look(self, project: Project, manifest: list[ManifestEntry]) -> CurrentTree:
        return CurrentTree(Path(project.path), manifest, read_record(self._record(project)))

    def _compare(self, project: Project, received: Received) -> Difference:
        return self._look(project, _entries(received)).compare()

    def _replace(self, project: Project, received: Received, old: Path) -> Uploaded:
        manifest = _entries(received)
        tree = self._look(project, manifest)
        root, record = Path(project.path), self._record(project)
        try:
            fresh = tree.build(old, received.contents)
            sync_file_system(old)
            before = [each for entries in read_record(record).values() for each in entries]
            write_record(record, [*before, *fresh])
            exchange(old, root)
        except BaseException:
            remove(old, self._set_aside)
            raise
        sync_folder(root.parent)
        write_record(record, fresh)
        return Uploaded(sum(entry.is_file for entry in manifest), tree.replaced()[:_NAMED])

    def _record(self, project: Project) -> Path:
        return self._data.upload_record(project.id)


def _entries(received: Received) -> list[ManifestEntry]:
    with received.manifest.open("rb") as file:
        return list(stored(file))


def _check_own(project: Project) -> None:
    if project.linked:
        text = f"project {project.name!r} is a folder of the gateway's machine, which uploads leave"
        raise Refusal("state.conflict", text)
    if project.creation_status != "success":
        text = f"the files of project {project.name!r} are not complete yet"
        raise Refusal("state.conflict", text)
