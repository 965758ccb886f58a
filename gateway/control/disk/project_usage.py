"""What each project keeps in the data folder, and the bound for it.

Counted are its files (unless they lie in a folder of the user's own), its snapshots, its cache of
packages, its builds and environments, and what its experiments have kept. Sizes are remembered, and
looked at when something has been written: a request asks the memory, it does not walk through
folders. Only before something is refused, what may have become smaller is looked at once more, but
of one project no more often than every few seconds.

What is being written is held by limits of its own (`within`): what the project has left, at most.
Several that write at once may each take as much.

A file that several builds and environments of a project share by hard links counts once. One that
projects share counts for each: what others keep changes nothing of what a project may keep.
"""

import os
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import trio

import store
from builder import BuildStore
from gateway.control.runtime_settings import RuntimeSettings
from gateway.data_folder import DataFolder
from gateway.errors import Refusal
from store import Database, Project
from workers import Limits
from workers.sizes import human_size
from workers.untrusted_tree import measure

# Between two looks at all that a project keeps: seconds.
_PAUSE = 5.0
# What may be written even so, for a program to say why it ends.
_LEAST = 1 << 20


class ProjectUsage:
    """What all projects keep."""

    def __init__(
        self, site: RuntimeSettings, data: DataFolder, shelf: BuildStore, database: Database
    ) -> None:
        self._site = site
        self._data = data
        self._shelf = shelf
        self._database = database
        self._sizes: dict[str, dict[Path, int]] = {}  # by the project's id
        self._looked_at: dict[str, float] = {}
        # Walking through folders takes no thread from anything else.
        self._threads = trio.CapacityLimiter(1)

    def most(self) -> int:
        """What one project may keep, in bytes."""
        if self._site.current.project_disk:
            return self._site.current.project_disk
        found = os.statvfs(self._data.root)
        return found.f_blocks * found.f_frsize // 2

    async def admit(self, project: Project, what: str, more: int = 0) -> None:
        """Raises Refusal("project.full") where the project keeps too much for `what`, which brings
        so many bytes more."""
        most = await trio.to_thread.run_sync(self.most)
        used = await self.used(project)
        if used.total() + more < most:
            return
        await self._look_again(project)
        used = await self.used(project)
        if used.total() + more >= most:
            parts = [f"{kind} {human_size(taken)}" for kind, taken in used.most_common() if taken]
            raise Refusal(
                "project.full",
                f"{what} does not fit: project {project.name!r} may keep {human_size(most)} in the "
                f"data folder, and keeps {human_size(used.total())} "
                f"({', '.join(parts) or 'nothing'})",
            )

    async def within(self, project: Project, limits: Limits) -> Limits:
        """The limits, with no more of the disk than the project has left."""
        most = await trio.to_thread.run_sync(self.most)
        left = max(_LEAST, most - (await self.used(project)).total())
        disk = min(limits.disk, left) if limits.disk else left
        return msgspec.structs.replace(limits, disk=disk)

    async def used(self, project: Project) -> Counter[str]:
        """The bytes that a project keeps, by what they are for, as far as has been looked at."""
        parts, used = await self._parts(project), Counter[str]()
        sizes = self._sizes.get(project.id, {})
        for kind, paths in parts.items():
            used[kind] = sum(sizes.get(path, 0) for path in paths)
        return used

    def total(self) -> int:
        """The bytes that all projects keep, as far as has been looked at."""
        return sum(size for sizes in self._sizes.values() for size in sizes.values())

    def add(self, project: Project, more: int) -> None:
        """Records that so many bytes were added to the project's own files."""
        sizes, path = self._sizes.setdefault(project.id, {}), Path(project.path)
        sizes[path] = sizes.get(path, 0) + more

    def shrank(self, project: Project) -> None:
        """Records that some of the project's own files were removed."""
        self._looked_at.pop(project.id, None)

    async def look(self, project: Project, *written: Path) -> None:
        """Looks at what has been written: these, and what a project's builds and runs share."""
        shared = self._data.snapshots(project.id), self._data.pip_cache(project.id)
        parts, known = await self._parts(project), self._sizes.get(project.id, {})
        new = [path for path in parts["environments"] if path not in known]
        await self._measure(project, [*written, *shared, *new])
        kept = {path for paths in parts.values() for path in paths}
        for path in self._sizes[project.id].keys() - kept:  # its build or experiment was deleted
            del self._sizes[project.id][path]

    async def look_at_all(self) -> None:
        """What was there when the gateway started."""
        for project in await self._database.read(store.projects.list_all):
            known = self._sizes.get(project.id, {})
            paths = [path for paths in (await self._parts(project)).values() for path in paths]
            await self._measure(project, [path for path in paths if path not in known])

    async def _look_again(self, project: Project) -> None:
        """At all that may have changed: not at builds that are sealed."""
        now = trio.current_time()
        if now < self._looked_at.get(project.id, -_PAUSE) + _PAUSE:
            return
        self._looked_at[project.id] = now
        parts = await self._parts(project)
        builds = parts.pop("builds")
        gone = [path for path in builds if self._shelf.sealed(path.name) is None]
        new = [path for path in builds if path not in self._sizes.get(project.id, {})]
        await self._measure(
            project, [*gone, *new, *(path for paths in parts.values() for path in paths)]
        )

    async def _parts(self, project: Project) -> dict[str, list[Path]]:
        kept = await self._database.read(store.projects.folders, project.id)
        stored = self._shelf.environments
        environments = await trio.to_thread.run_sync(stored.sealed_names, project.id)
        return {
            "files": [] if project.linked else [Path(project.path)],
            "snapshots": [self._data.snapshots(project.id)],
            "cache": [self._data.pip_cache(project.id)],
            "builds": [self._shelf.folder(each) for each in kept.builds],
            "environments": [stored.folder(each) for each in environments],
            "experiments": [self._data.experiment(each).folder for each in kept.experiments],
        }

    async def _measure(self, project: Project, paths: Iterable[Path]) -> None:
        sizes = self._sizes.setdefault(project.id, {})
        parts = await self._parts(project)
        sealed = [*parts["builds"], *parts["environments"]]
        found = list(paths)
        if any(path in sealed for path in found):
            found = [*(path for path in found if path not in sealed), *sealed]
        counted: set[tuple[int, int]] = set()
        for path in found:
            sizes[path] = await trio.to_thread.run_sync(
                partial(measure, path, counted=counted), limiter=self._threads
            )
