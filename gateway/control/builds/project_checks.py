"""Checks a project before anything is created or built for it: `builder.check` on a snapshot.

A check that is asked for by itself, or before a model is created, takes a snapshot of its own. That
of a model is then the snapshot of its first build.
"""

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import trio

import builder
from builder import CheckReport, CheckRequest, Interpreter, Snapshot, SourceFile
from gateway.control.builds.build_runner import BuildRunner
from gateway.control.builds.snapshots import BuildLog, Snapshots
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from gateway.errors import Refusal
from store import Project

# Checks that run at once: each is one process for some 50 ms.
_LIMIT = 2
# Snapshots with such names belong to no build. The next start drops those that a kill has left.
TRANSIENT = "transient-"
# Names of R may have dots.
_R_NAME = re.compile(r"(?![.]?[0-9_])[\w.]+")


class AskedModel(Protocol):
    """The function to serve, and the script that prepares for it: of a request, or of a row."""

    @property
    def file(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def model_root(self) -> str: ...
    @property
    def script(self) -> str: ...
    @property
    def kernel(self) -> str: ...


class Checked(NamedTuple):
    """A snapshot that was checked, under the name `name`, and the lines of its log."""

    name: str
    snapshot: Snapshot
    report: CheckReport
    lines: list[str]


class ProjectChecks:
    """Checks snapshots, a few at a time."""

    def __init__(
        self, snapshots: Snapshots, runner: BuildRunner, catalogue: RuntimeCatalogue
    ) -> None:
        self._snapshots = snapshots
        self._runner = runner
        self._catalogue = catalogue
        self._semaphore = FairSemaphore(_LIMIT, per_holder=1)
        self._known = builder.known_sources()

    @asynccontextmanager
    async def looking(self, project: Project, asked: AskedModel) -> AsyncIterator[Checked]:
        """Inside, there is a checked snapshot of the project for the model that is asked for. It is
        dropped at the end, unless a build has taken it. Raises UnknownKernel, and Refusal for files
        that cannot be taken."""
        name, log = f"{TRANSIENT}{uuid.uuid4().hex}", Lines()
        try:
            try:
                snapshot = await self._snapshots.take(project, name, log)
                report = await self._check(project, asked, snapshot)
            except builder.SnapshotFailed as error:
                raise Refusal("build.refused", error.problem, advice=error.advice) from error
            yield Checked(name, snapshot, report, log.lines)
        finally:
            with trio.CancelScope(shield=True):
                await self._snapshots.drop(project.id, name)

    async def functions(self, project: Project) -> list[SourceFile]:
        """The functions of the project's files as they are. Raises UnknownKernel, OSError."""
        interpreter = await self._python(project)

        async def run(command: list[str], **more: Any) -> int:
            # Only where a file is new: what the project keeps is looked up for its limits.
            return await (await self._runner.for_git(project))(command, **more)

        async with self._semaphore.acquire(project.id):
            return await self._snapshots.functions(project, interpreter, run)

    async def _python(self, project: Project) -> Interpreter:
        """The project's Python, which also lists the functions of R."""
        choice = await self._catalogue.choose("", project)
        if choice.interpreter.language != "python":
            choice = await self._catalogue.bare_of("python")
        return choice.interpreter

    async def taken(
        self, project: Project, name: str, log: BuildLog, checked: Checked | None
    ) -> Snapshot:
        """The snapshot of a build: that which is `checked`, or a new one. Raises SnapshotFailed,
        OSError."""
        if checked is None:
            return await self._snapshots.take(project, name, log)
        for line in checked.lines:
            log.write(line)
        await self._snapshots.rename(project.id, checked.snapshot, checked.name, name)
        return checked.snapshot

    async def require(
        self,
        project: Project,
        asked: AskedModel,
        snapshot: Snapshot,
        log: BuildLog,
        checked: Checked | None,
    ) -> None:
        """Write the notes about a snapshot to the log. Raises CheckFailed with its problems, and
        what `builder.check_project` raises."""
        report = checked.report if checked else await self._check(project, asked, snapshot)
        for note in report.notes:
            log.write(f"Note: {note}")
        report.raise_problems()

    async def _check(self, project: Project, asked: AskedModel, snapshot: Snapshot) -> CheckReport:
        request = CheckRequest(
            file=asked.file,
            function=asked.function,
            model_root=asked.model_root,
            script=asked.script,
        )
        choice = await self._catalogue.choose(asked.kernel, project, asked.file)
        run = await self._runner.for_git(project)
        async with self._semaphore.acquire(project.id):
            return await builder.check_project(
                *(request, snapshot),
                interpreter=choice.interpreter,
                run=run,
                known=self._known,
            )


class Lines:
    """A log in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)


def check_paths(asked: AskedModel) -> None:
    """Refuses what is certainly wrong without a look at the files."""
    for what, path in (
        ("file_path", asked.file),
        ("model_root_dir", asked.model_root),
        ("build_script_path", asked.script),
    ):
        if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
            raise Refusal("path.refused", f"{what}: {path!r} is not inside the project")
    if not asked.file:
        raise Refusal("argument.invalid", "file_path: name the file that has the function")
    if not (asked.function.isidentifier() or _R_NAME.fullmatch(asked.function)):
        raise Refusal("argument.invalid", f"function_name: {asked.function!r} is no function name")
