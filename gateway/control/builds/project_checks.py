"""Checks a project before anything is created or built for it: `builder.check` on a snapshot.

A check that is asked for by itself, or before a model is created, takes a snapshot of its own. That
of a model is then the snapshot of its first build.
"""

import uuid
from typing import NamedTuple

import trio

import builder
from builder import CheckReport, CheckRequest, Interpreter, Snapshot
from gateway.control.builds.build_runner import BuildRunner
from gateway.control.builds.snapshots import BuildLog, Snapshots
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.interpreters import Interpreters
from store import Project

# Checks that run at once: each is one process for some 50 ms.
_LIMIT = 2
# Snapshots with such names belong to no build. The next start drops those that a kill has left.
TRANSIENT = "transient-"


class Checked(NamedTuple):
    """A snapshot that was checked, under the name `name`, and the lines of its log."""

    name: str
    snapshot: Snapshot
    report: CheckReport
    lines: list[str]


class ProjectChecks:
    """Checks snapshots, a few at a time."""

    def __init__(
        self, snapshots: Snapshots, runner: BuildRunner, interpreters: Interpreters
    ) -> None:
        self._snapshots = snapshots
        self._runner = runner
        self._interpreters = interpreters
        self._semaphore = FairSemaphore(_LIMIT, per_holder=1)

    async def check(
        self, project: Project, request: CheckRequest, kernel: str, snapshot: Snapshot
    ) -> CheckReport:
        """Check a snapshot that exists. Raises SnapshotFailed, OSError, UnknownKernel."""
        interpreter = await self._interpreter(kernel)
        run = await self._runner.for_git(project)
        async with self._semaphore.acquire(project.id):
            return await builder.check_project(request, snapshot, interpreter=interpreter, run=run)

    async def look(self, project: Project, request: CheckRequest, kernel: str) -> Checked:
        """Take a snapshot of the project, which the caller drops or renames, and check it. Raises
        SnapshotFailed, OSError, UnknownKernel."""
        name, log = f"{TRANSIENT}{uuid.uuid4().hex}", _Lines()
        snapshot = await self._snapshots.take(project, name, log)
        try:
            report = await self.check(project, request, kernel, snapshot)
        except BaseException:
            await self.drop(project, name)
            raise
        return Checked(name, snapshot, report, log.lines)

    async def drop(self, project: Project, name: str) -> None:
        """Drop a snapshot of `look`."""
        with trio.CancelScope(shield=True):
            await self._snapshots.drop(project.id, name)

    async def _interpreter(self, kernel: str) -> Interpreter:
        return builder.match(kernel, await self._interpreters.all())


class _Lines(BuildLog):
    """A log in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)
