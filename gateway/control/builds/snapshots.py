"""The snapshots of projects that builds and experiments are made from."""

from pathlib import Path
from typing import Protocol

from builder import (
    FunctionCache,
    Interpreter,
    Run,
    Snapshot,
    SourceFile,
    drop_snapshot,
    hiding_line,
    list_functions,
    rename_snapshot,
    take_snapshot,
)
from gateway.control.builds.build_runner import BuildRunner
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.project_locks import ProjectLocks
from gateway.data_folder import DataFolder
from store import Project

# Snapshots that are taken or dropped at once. Those of one project wait for each other anyway.
_LIMIT = 2


class BuildLog(Protocol):
    """Takes one line at a time, without its line break."""

    def write(self, line: str) -> None: ...


class Snapshots:
    """Takes, finds and drops them. Each has the id of its build or experiment as its name."""

    def __init__(self, data: DataFolder, runner: BuildRunner, locks: ProjectLocks) -> None:
        self._data = data
        self._runner = runner
        self._locks = locks
        self._functions = FunctionCache()
        self._semaphore = FairSemaphore(_LIMIT, per_holder=1)

    async def take(self, project: Project, name: str, log: BuildLog) -> Snapshot:
        """Raises SnapshotFailed or OSError."""
        async with self._semaphore.acquire(project.id):
            run = await self._runner.for_git(project)
            with self._locks.reading(project.id):
                return await take_snapshot(
                    *(Path(project.path), self._data.snapshots(project.id), name, log), run=run
                )

    async def rename(self, project_id: str, snapshot: Snapshot, old: str, new: str) -> None:
        """Keep a snapshot by another name. Raises SnapshotFailed or OSError."""
        async with self._semaphore.acquire(project_id):
            await rename_snapshot(snapshot, old, new)

    async def hiding_line(self, project: Project, path: str) -> str:
        """The line of `.gitignore` that keeps a file out of the project's snapshots, in words; ""
        if none does. Raises SnapshotFailed or OSError."""
        async with self._semaphore.acquire(project.id):
            return await hiding_line(
                *(Path(project.path), path, self._data.snapshots(project.id).parent.absolute()),
                run=await self._runner.for_git(project),
            )

    async def functions(
        self, project: Project, interpreter: Interpreter, run: Run
    ) -> list[SourceFile]:
        """The functions of the project's files as they are. Raises OSError."""
        above = self._data.snapshots(project.id).parent.absolute()
        with self._locks.reading(project.id):
            return await list_functions(
                Path(project.path),
                interpreter=interpreter,
                run=run,
                above=above,
                cache=self._functions,
            )

    def find(self, project_id: str, commit: str) -> Snapshot:
        """A snapshot that was taken."""
        return Snapshot(self._data.snapshots(project_id), commit)

    async def drop(self, project_id: str, name: str) -> None:
        """No matter if there is none."""
        async with self._semaphore.acquire(project_id):
            await drop_snapshot(self._data.snapshots(project_id), name)
