"""Orphans: files without a row, found when the gateway starts.

All of a project, model, build or experiment lies in a folder or file named by its id. Only
snapshots differ: they are in the snapshot store of their project, under the same ids.

Only two kinds of files are removed: those of what the database says was deleted, and builds that
were never finished. What the database does not know may be worth more than the database, which may
be an older copy. So it is moved to the trash; files of projects and snapshots stay where they are.
What can be neither moved nor removed stays, is reported (`set_aside.py`), and keeps nothing else
from being served. A finished build that is damaged is set aside, and rebuilt when it is needed.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import aiosqlite
import trio

import store
from builder import BuildStore, drop_snapshot, remove_half_compiled, snapshots_in
from gateway.background import Tasks
from gateway.control.builds.project_checks import TRANSIENT
from gateway.control.deployments.replica_logs import prune_logs
from gateway.control.disk.removal_queue import remove
from gateway.control.disk.trash import HOURS, Trash
from gateway.data_folder import DataFolder
from gateway.set_aside import AGAIN, REMOVE, SetAside
from store import Database

logger = logging.getLogger(__name__)


class Ids(NamedTuple):
    """The ids in the database: `built` of finished builds, `known` of everything that has a row."""

    known: set[str]
    built: set[str]
    deleted: set[str]
    names: dict[str, str]  # of builds, in words


async def ids(connection: aiosqlite.Connection) -> Ids:
    """What the database knows at this instant."""
    projects = await store.projects.list_all(connection)
    models = await store.models.list_all(connection)
    builds = [b for m in models for b in await store.builds.list_all(connection, m.id)]
    experiments = await store.experiments.list_all(connection)
    runtimes = await store.runtimes.list_all(connection)
    rows = (*projects, *models, *builds, *experiments, *runtimes)
    names = {model.id: model.name for model in models}
    return Ids(
        known={each.id for each in rows},
        built={each.id for each in builds if each.status == "built"},
        deleted=await store.deleted.list_all(connection),
        names={
            build.id: f"build {build.number} of model {names[build.model_id]!r}" for build in builds
        },
    )


def id_of(entry: Path) -> str:
    """The id in a file name: "<id>", "<id>.git", "<id>.log" and "<id>.log.1" have it."""
    return entry.name.partition(".")[0]


class OrphanSweep:
    """The sweep at the start, before anything is created."""

    def __init__(
        self,
        *,
        database: Database,
        data: DataFolder,
        build_store: BuildStore,
        trash: Trash,
        set_aside: SetAside,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._data = data
        self._build_store = build_store
        self._trash = trash
        self._set_aside = set_aside
        self._tasks = tasks

    async def run(self) -> None:
        """Removes what was deleted, and moves what is unknown to the trash."""
        known = await self._database.read(ids)
        for folder in self._data.entity_folders:
            with self._set_aside.item(f"the folder {folder.name}", folder):
                await trio.to_thread.run_sync(self._sweep_folder, folder, known)
        environments = self._build_store.environments
        with self._set_aside.item("the folder of environments", environments.root):
            await self._sweep_environments(known)
        with self._set_aside.item("the folder of builds", self._build_store.root):
            await self._sweep_builds(known)
        self._tasks.start(self._end_deletions, known.deleted)
        await trio.to_thread.run_sync(prune_logs, self._data.parser_logs, self._set_aside)

    def _sweep_folder(self, folder: Path, ids: Ids) -> None:
        entries = list(folder.iterdir()) if folder.is_dir() else []
        for entry in entries:
            if id_of(entry) in ids.deleted:
                remove(entry, self._set_aside)
        unknown = [entry for entry in entries if id_of(entry) not in ids.known | ids.deleted]
        if folder != self._data.projects:
            self._discard(folder, unknown)
        elif unknown:
            names = ", ".join(sorted(entry.name for entry in unknown))
            logger.warning("projects.unknown_files_kept folder=%s: %s", folder, names)

    async def _sweep_environments(self, ids: Ids) -> None:
        """A damaged one is set aside, an unfinished one is removed, and so is unfinished
        bytecode."""
        environments, unknown = self._build_store.environments, []
        for name in await trio.to_thread.run_sync(environments.names):
            folder, manifest = environments.folder(name), environments.sealed(name)
            if problem := environments.damage(name):
                self._set_aside.move(f"environment {name}", folder, problem, AGAIN)
            elif manifest is None or manifest.project in ids.deleted:
                with self._set_aside.item("a leftover", folder, REMOVE):
                    await environments.remove(name)
            elif manifest.project not in ids.known:
                unknown.append(folder)
            else:
                with self._set_aside.item("a leftover", folder, REMOVE):
                    await trio.to_thread.run_sync(remove_half_compiled, folder)
        await trio.to_thread.run_sync(self._discard, environments.root, unknown)

    async def _sweep_builds(self, ids: Ids) -> None:
        builds = self._build_store
        for name in await trio.to_thread.run_sync(builds.aside):
            with self._set_aside.item(f"build {name}", builds.folder(name)):
                await builds.unpark(name)
        names = await trio.to_thread.run_sync(self._set_damaged_aside, ids)
        left = [name for name in names if name not in ids.built or builds.sealed(name) is None]
        # Never finished, or being removed when an earlier gateway ended.
        known = ids.deleted | (ids.known - ids.built)
        ended = [name for name in left if name in known or name.startswith(TRANSIENT)]
        for name in ended:
            with self._set_aside.item("a leftover", builds.folder(name), REMOVE):
                await builds.remove(name)
        lost = [builds.folder(name) for name in left if name not in ended]
        await trio.to_thread.run_sync(self._discard, builds.root, lost)

    def _set_damaged_aside(self, ids: Ids) -> list[str]:
        """Sets builds that were built and are damaged aside; they are rebuilt when needed. Returns
        the names of the others in the build store. Blocking."""
        builds, left = self._build_store, []
        for name in builds.names():
            problem = builds.damage(name)
            if not problem and builds.sealed(name) is None:
                problem = "its seal or its environment is gone"
            if problem and name in ids.built:
                self._set_aside.move(ids.names[name], builds.folder(name), problem, AGAIN)
            else:
                left.append(name)
        return left

    def _discard(self, folder: Path, entries: Iterable[Path]) -> None:
        moved = []
        for entry in entries:
            with self._set_aside.item("something that the database does not know", entry):
                moved.append(self._trash.put(entry))
        if moved:
            logger.warning(
                "orphans.trashed folder=%s count=%s first=%s hours=%s",
                folder,
                len(moved),
                moved[0],
                HOURS,
            )

    async def _end_deletions(self, deleted: set[str]) -> None:
        """Drops the snapshots of what was deleted, and those of no build, which takes git a while.
        Then forgets the deletions of which nothing is left."""
        left: set[str] = set()
        for project in await self._database.read(store.projects.list_all):
            snapshots = self._data.snapshots(project.id)
            with self._set_aside.item(f"the snapshots of project {project.name!r}", snapshots):
                for name in await trio.to_thread.run_sync(snapshots_in, snapshots):
                    if name in deleted or name.startswith(TRANSIENT):
                        await drop_snapshot(snapshots, name)
        for folder in (*self._data.entity_folders, self._data.builds):
            left |= await trio.to_thread.run_sync(_ids_in, folder)
        await trio.to_thread.run_sync(self._set_aside.save)
        with suppress(store.StoreFailed):  # then the next start does it
            await self._database.write_if_space(store.deleted.delete, deleted - left)


def _ids_in(folder: Path) -> set[str]:
    return {id_of(entry) for entry in folder.iterdir()} if folder.is_dir() else set()
