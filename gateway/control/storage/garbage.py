"""Garbage: what the data folder holds and nothing needs. It is found and removed while serving.

Builds that their model does not keep (`retention.py`) are garbage, with their environment, snapshot
and log. So are caches of packages that are old, large or where the disk is low
(`package_caches.py`), seeds that no build uses, environments that no build names, files named by an
unknown id, and the trash.

What is referenced stays. A build's row is deleted in a transaction that refuses if a deployment
wants the build. A deployment's row is written in one that refuses if its build is gone. So of a
removal and a deployment at the same instant one is refused, and no deployment serves deleted files.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import aiosqlite
import msgspec
import trio

import store
from builder import BuildStore, prune, unused_files, unused_seeds
from gateway.control.builds.builds import Builds
from gateway.control.builds.environments import Environments
from gateway.control.builds.project_checks import TRANSIENT
from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.removal_queue import Removal, RemovalQueue, remove
from gateway.control.disk.trash import Trash
from gateway.control.metrics.retention_clock import RetentionClock
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sessions.sessions import WorkSessions
from gateway.control.storage.disk_space import size_of
from gateway.control.storage.orphan_files import Ids, id_of, ids
from gateway.control.storage.package_caches import unneeded_caches
from gateway.control.storage.retention import OldBuild, old_builds
from gateway.data_folder import DataFolder
from gateway.set_aside import SetAside
from store import Database

# In seconds. What changed later may be a deletion that is still in progress.
MIN_AGE = 3600.0


class Garbage(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be removed. `kind` is build, environment, cache, leftover or trash; only
    builds have a `project`, a `model` and a `reason`."""

    kind: str
    name: str
    bytes: int
    project: str = ""
    model: str = ""
    reason: str = ""
    number: int = 0


class Collector:
    """Finds garbage, and removes it."""

    def __init__(
        self,
        *,
        database: Database,
        data: DataFolder,
        build_store: BuildStore,
        trash: Trash,
        removal_queue: RemovalQueue,
        set_aside: SetAside,
        builds: Builds,
        environments: Environments,
        sessions: WorkSessions,
        settings: RuntimeSettings,
        disk: FreeSpace,
    ) -> None:
        self._database = database
        self._disk = disk
        self._sessions = sessions
        self._data = data
        self._build_store = build_store
        self._trash = trash
        self._removal_queue = removal_queue
        self._set_aside = set_aside
        self._builds = builds
        self._environments = environments
        self._settings = settings
        self._clock: RetentionClock | None = None

    async def find(self, keep: int | None = None) -> list[Garbage]:
        """What `collect` would remove now."""
        old = await self._old(keep)
        paths = [
            ("environment", self._build_store.environments.folder(e))
            for e in await self._environments.unused()
        ]
        paths += [("cache", path) for path in await self._caches()]
        paths += await self._leftovers()
        found = await trio.to_thread.run_sync(self._describe, old, paths)
        return [*found, *await trio.to_thread.run_sync(_unshared, self._data.shared_files)]

    async def collect(self, keep: int | None = None) -> list[Garbage]:
        """Removes garbage and returns it. What has come into use meanwhile stays."""
        gone = await trio.to_thread.run_sync(_unshared, self._data.shared_files)
        gone += await self.collect_builds(keep)
        for each_id in await self._environments.unused():
            folder = self._build_store.environments.folder(each_id)
            (found,) = await trio.to_thread.run_sync(self._describe, [], [("environment", folder)])
            if await self._environments.remove_unused(each_id):
                gone.append(found)
        paths = [("cache", path) for path in await self._caches()]
        paths += await self._leftovers()
        for kind, path in paths:
            gone.append(await trio.to_thread.run_sync(_describe_path, kind, path, self._data.root))
            await self._removal_queue.remove(self._removal(path))
        # Last: these removals have counted what they shared with nothing else.
        await self._prune_shared_files()
        return gone

    async def collect_unneeded(self) -> list[Garbage]:
        """Removes the builds that their models do not keep, and the files that only they had.
        Returns the builds."""
        gone = await self.collect_builds()
        if gone:
            await self._prune_shared_files()
        return gone

    async def _prune_shared_files(self) -> None:
        files = self._data.shared_files
        await self._removal_queue.remove(partial(trio.to_thread.run_sync, prune, files))

    async def collect_builds(self, keep: int | None = None) -> list[Garbage]:
        """Removes the builds that their models do not keep, and returns them."""
        gone = []
        for each in await self._old(keep):
            if each.build.id in self._builds.used:
                continue
            (found,) = await trio.to_thread.run_sync(self._describe, [each], [])
            with suppress(store.BuildInUse, store.NotFound):
                await self._builds.delete(each.model.project_id, each.build)
                gone.append(found)
        return gone

    async def _old(self, keep: int | None) -> list[OldBuild]:
        if self._clock is None:
            # A clock that jumps removes nothing: see `RetentionClock`.
            latest = await self._database.read(store.builds.latest_created_at)
            last = datetime.fromisoformat(latest).timestamp() if latest else 0
            self._clock = RetentionClock(int(1000 * last))
        now_ms, settings = self._clock.now_ms(), self._settings.current
        return await self._database.read(old_builds, settings, now_ms, keep)

    def _removal(self, path: Path) -> Removal:
        return partial(trio.to_thread.run_sync, remove, path, self._set_aside)

    def _describe(self, old: list[OldBuild], paths: list[tuple[str, Path]]) -> list[Garbage]:
        data, environments = self._data, self._environments_of(old)
        builds = [
            Garbage(
                kind="build",
                name=each.build.id,
                bytes=size_of(
                    (
                        data.builds / each.build.id,
                        data.build_log(each.build.id),
                        *environments.get(each.build.id, ()),
                    )
                ),
                project=each.project,
                model=each.model.name,
                reason=each.reason,
                number=each.build.number,
            )
            for each in old
        ]
        return [*builds, *(_describe_path(kind, path, data.root) for kind, path in paths)]

    def _environments_of(self, old: list[OldBuild]) -> dict[str, list[Path]]:
        """The environments that only these builds run in, each with the last of them. Blocking."""
        named = self._build_store.environments_by_build()
        going = [each.build.id for each in old]
        stay = {environment for build, environment in named.items() if build not in going}
        last = {named[build]: build for build in going if build in named}
        folder = self._build_store.environments.folder
        return {build: [folder(name)] for name, build in last.items() if name not in stay}

    async def _caches(self) -> list[Path]:
        """Those that are not kept of projects that build and run nothing now, which pip fills
        again, and seeds that no build has used for a month."""
        idle = await self._database.read(_idle_projects)
        busy = self._sessions.projects
        paths = [self._data.pip_cache(each) for each in idle if each not in busy]
        low = (await self._disk.state()).level != "ok"
        unneeded = partial(unneeded_caches, paths, disk_is_low=low)
        found = await trio.to_thread.run_sync(unneeded)
        return [*found, *await trio.to_thread.run_sync(unused_seeds, self._data.seeds)]

    async def _leftovers(self) -> list[tuple[str, Path]]:
        trash = await trio.to_thread.run_sync(self._trash.folders)
        orphans = await self._orphans()
        return [*(("leftover", path) for path in orphans), *(("trash", path) for path in trash)]

    async def _orphans(self) -> list[Path]:
        """Files named by an unknown id. Names are read first, then rows: what is created meanwhile
        has its row before it has a name on the disk."""
        data = self._data
        folders = [*data.entity_folders, data.builds]
        entries = await trio.to_thread.run_sync(_entries, folders)
        known = await self._database.read(ids)
        return [each for each in entries if self._is_leftover(each, known)]

    def _is_leftover(self, entry: Path, known: Ids) -> bool:
        """The files of a project are garbage only if it was deleted."""
        if entry.parent == self._data.projects:
            return id_of(entry) in known.deleted
        # The build of a session is removed by the session, or by the next start.
        return id_of(entry) not in known.known and not entry.name.startswith(TRANSIENT)


def _unshared(files: Path) -> list[Garbage]:
    """The files that environments have shared and none has now, as one thing."""
    total = sum(size for _, size in unused_files(files))
    return [Garbage(kind="cache", name=files.name, bytes=total)] if total else []


def _entries(folders: Iterable[Path]) -> list[Path]:
    before = time.time() - MIN_AGE
    found = []
    for folder in folders:
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if entry.lstat().st_mtime < before:
                    found.append(entry)
    return found


async def _idle_projects(connection: aiosqlite.Connection) -> list[str]:
    models = {model.id: model for model in await store.models.list_all(connection)}
    unfinished = await store.builds.unfinished(connection)
    busy = {models[build.model_id].project_id for build in unfinished}
    busy |= {each.project_id for each in await store.experiments.unfinished(connection)}
    return [p.id for p in await store.projects.list_all(connection) if p.id not in busy]


def _describe_path(kind: str, path: Path, root: Path) -> Garbage:
    return Garbage(kind=kind, name=str(path.relative_to(root)), bytes=size_of([path]))
