"""The locks of builds: what was installed, and what differs between two builds of a model."""

import msgspec
import trio

import builder
import store
from builder import ChangedFile, FileDifference, Lock, PackageChange, Snapshot
from gateway.data_folder import DataFolder
from gateway.errors import Refusal
from store import Build, Database, NotFound

# Files that a comparison names; it counts the others.
MOST_FILES = 1000
# The settings of a build, by their names in the API.

_SETTINGS = {
    "file_path": "file",
    "function_name": "function",
    "kernel": "kernel",
    "runtime_identifier": "interpreter",
    "model_root_dir": "model_root",
    "build_script_path": "script",
    "network": "network",
    "example": "example",
    "example_output": "example_output",
}


class ChangedSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of a build that differs, by its name in the API."""

    name: str
    before: str
    after: str


class BuildComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two builds. `files_changed` counts all files, `files` has the first.
    `packages` are None where a build has no lock, as one that failed."""

    settings: list[ChangedSetting]
    packages: list[PackageChange] | None
    files: list[ChangedFile]
    files_changed: int


class BuildLocks:
    """Reads and compares the locks of builds, which outlive their environments."""

    def __init__(self, database: Database, data: DataFolder) -> None:
        self._database = database
        self._data = data

    async def text(self, build: Build) -> str:
        """The lock of a build, as the text of a `pylock.toml`. Raises Refusal for a build without
        one."""
        text = await self._database.read(store.builds.lock, build.id)
        if not text:
            raise Refusal("build.notlocked", f"build {build.number} has no lock")
        return text

    async def lock(self, build: Build) -> Lock:
        """The lock of a build. Raises Refusal for a build without one."""
        text = await self.text(build)
        # It takes up to a second for the largest.
        return await trio.to_thread.run_sync(builder.read_lock, text)

    async def compare(self, project_id: str, before: Build, after: Build) -> BuildComparison:
        """What differs between two builds of a project. Raises Refusal for a build without a
        snapshot, and SnapshotFailed."""
        old, new = self._snapshots(project_id, before, after)
        packages = None
        if before.lock_id and after.lock_id:
            locks = await self.lock(before), await self.lock(after)
            packages = await trio.to_thread.run_sync(builder.compare_locks, *locks)
        files = await builder.changed_files(old, new)
        return BuildComparison(
            settings=changed_settings(before, after),
            packages=packages,
            files=files[:MOST_FILES],
            files_changed=len(files),
        )

    async def difference(
        self, project_id: str, before: Build, after: Build, path: str
    ) -> FileDifference:
        """The lines of a file that differ. Raises NotFound for a file that does not differ, Refusal
        for a build without a snapshot, and SnapshotFailed."""
        old, new = self._snapshots(project_id, before, after)
        found = await builder.file_difference(old, new, path)
        if found is None:
            raise NotFound("file", path)
        return found

    def _snapshots(self, project_id: str, *builds: Build) -> list[Snapshot]:
        for build in builds:
            if not build.snapshot:
                raise Refusal("state.conflict", f"build {build.number} has no snapshot")
        folder = self._data.snapshots(project_id)
        return [Snapshot(folder, build.snapshot) for build in builds]


def changed_settings(before: Build, after: Build) -> list[ChangedSetting]:
    """The settings that differ."""
    values = {
        name: (getattr(before, field) or "", getattr(after, field) or "")
        for name, field in _SETTINGS.items()
    }
    return [
        ChangedSetting(name=name, before=old, after=new)
        for name, (old, new) in values.items()
        if old != new
    ]
