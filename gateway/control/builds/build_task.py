"""One build, from the request for it to its end.

The snapshot is taken before the request is answered, so that later edits of the project are not in
the build. Then the build waits for a permit of the semaphore. Its row follows: pending, queued,
building, and one of the ends. A rebuild (`rebuild.py`) takes the same steps from its snapshot on,
without writing them to its row.
"""

import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import msgspec
import trio

import builder
import store
from builder import BuildSteps, BuildStore
from gateway.control import failures
from gateway.control.builds.build_executor import BuildExecutor, BuildRequest
from gateway.control.builds.environments import Environments
from gateway.control.builds.probe import Prober
from gateway.control.builds.project_checks import Checked, ProjectChecks
from gateway.control.builds.rebuild import advanced, queued_again, replacing
from gateway.control.builds.snapshots import Snapshots
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.interpreters import Interpreters
from gateway.control.operation import Operation, OperationTimeouts
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from gateway.data_folder import DataFolder
from gateway.encryption import CannotDecrypt
from store import Build, Database, Failure, Model, Project, Step, StoredLock
from workers import Log, Workers

logger = logging.getLogger(__name__)

# The stream of those lines in a build log that report its steps. Log files on disk have this name.
STEPS_STREAM = "journey"


class BuildServices(msgspec.Struct, frozen=True, kw_only=True):
    """What each build task works with."""

    database: Database
    writer: RetryingWriter
    workers: Workers
    data: DataFolder
    build_store: BuildStore
    environments: Environments
    interpreters: Interpreters
    catalogue: RuntimeCatalogue
    snapshots: Snapshots
    checks: ProjectChecks
    executor: BuildExecutor
    prober: Prober
    timeouts: OperationTimeouts


class BuildTask:
    """Makes one build. The milestone of its operation is its checked snapshot, which may be taken
    already.

    `rebuild_reason` says why a build that was built is made once more; "" for a new build.
    """

    def __init__(
        self,
        services: BuildServices,
        semaphore: FairSemaphore,
        build: Build,
        rebuild_reason: str = "",
        checked: Checked | None = None,
    ) -> None:
        self.build = queued_again(build) if rebuild_reason else build
        self.is_rebuild = bool(rebuild_reason)
        self.operation = Operation()
        self.log = Log(services.data.build_log(build.id))
        self.build_steps = _build_steps(self.build.steps)
        self._services = services
        self._semaphore = semaphore
        self._checked = checked
        if rebuild_reason:
            self.log.write(f"Rebuilding from the snapshot: {rebuild_reason}")

    async def run(self) -> None:
        """Makes the build. Its row and its log say how that ended. Raises NotFound when the row was
        deleted."""
        with self.operation.lifetime():
            try:
                with self.operation.cancellable():
                    await self._run_steps()
            except store.NotFound:
                raise
            except store.IllegalTransition:
                await self._end_cancelled()
            except CannotDecrypt as error:
                await self._fail(failures.unreadable(error))
            except Exception as error:
                logger.exception("build.crashed id=%s", self.build.id)
                await self._fail(failures.build_error("", error))
            finally:
                # Last, behind what the script printed while it was ended.
                if self.build.cancelled_by and (why := self.build.failure) is not None:
                    self.log.write(f"{why.summary}: {why.problem}", "stderr")
                self.log.close()

    async def cancel(self, build: Build) -> None:
        """Ends the task of a build whose row, `build`, says that it was cancelled. Returns when
        nothing of it runs."""
        self.build = build
        self.build_steps = _build_steps(build.steps)
        await self.operation.cancel_and_wait()

    async def _end_cancelled(self) -> None:
        """The row was written as cancelled before this task could write it. A build that was
        complete by then has a folder."""
        self.build = await self._services.database.read(store.builds.get, self.build.id)
        with trio.CancelScope(shield=True):
            await self._services.build_store.remove(self.build.id)

    async def _run_steps(self) -> None:
        database = self._services.database
        model = await database.read(store.models.get, self.build.model_id)
        project = await database.read(store.projects.get, model.project_id)
        if self.build.status == "pending" and not await self._take_snapshot(project):
            return
        self.operation.milestone.set()
        async with AsyncExitStack() as held:
            if self.is_rebuild:
                replaced = replacing(self._services.build_store, self.build.id)
                await held.enter_async_context(replaced)
            await held.enter_async_context(self._semaphore.acquire(project.id))
            await self._make(model, project)

    async def _make(self, model: Model, project: Project) -> None:
        await self._advance("started")
        lock = ""
        if self.is_rebuild:
            lock = await self._services.database.read(store.builds.lock, self.build.id)
        try:
            report = await self._services.executor.execute(
                project,
                _request_of(self.build, lock),
                self.log,
                probe=self._services.prober.probe_of(self.build, model, project, self.log),
                changed=self._on_step_changed,
                steps=self.build_steps,
            )
        except trio.Cancelled:
            # If the disk does not accept it now, the next start writes the same.
            with trio.move_on_after(self._services.timeouts.last_write, shield=True):
                await self._advance("interrupted", failure=failures.BUILD_INTERRUPTED)
            raise
        if report.failure is None:
            await self._finish(report.lock)
        elif self._services.workers.ending:
            await self._advance("interrupted", failure=failures.BUILD_INTERRUPTED)
        else:
            await self._fail(failures.of_report(report.failure), report.outcome)

    async def _take_snapshot(self, project: Project) -> bool:
        """Takes the snapshot and checks it. Whether a build can be made of it."""
        self.log.write("Taking a snapshot of the project")
        checks = self._services.checks
        try:
            with self._step(builder.SNAPSHOT):
                checked = self._checked
                snapshot = await checks.taken(project, self.build.id, self.log, checked)
            with self._step(builder.CHECK):
                await checks.require(project, self.build, snapshot, self.log, checked)
        except (builder.BuilderError, OSError) as error:
            failed = next(each.name for each in self.steps if each.state == "failed")
            await self._fail(failures.build_error(failed, error))
            return False
        catalogue = self._services.catalogue
        choice = await catalogue.choose(self.build.kernel, project, self.build.file)
        await self._advance("snapshotted", snapshot=snapshot.commit, interpreter=choice.identifier)
        return True

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Reports how a step of the block went."""
        began = trio.current_time()
        self._on_step_changed(self.build_steps.start(name, store.now()))
        try:
            yield
        except (builder.BuilderError, OSError):
            self._on_step_changed(self.build_steps.fail(name, trio.current_time() - began))
            raise
        self._on_step_changed(self.build_steps.finish(name, trio.current_time() - began))

    def _on_step_changed(self, build_steps: BuildSteps) -> None:
        """Writes the steps to the log when one has begun or ended, in order with its lines."""
        self.build_steps = build_steps
        self.log.write(msgspec.json.encode(build_steps.steps).decode(), STEPS_STREAM)

    async def _fail(self, failure: Failure, event: str = "failed") -> None:
        self.log.write(f"{failure.summary}: {failure.problem}\n{failure.advice}", "stderr")
        await self._advance(event, failure=failure)

    async def _advance(self, event: str, **changes: object) -> None:
        changes["steps"] = self.steps
        if self.is_rebuild:
            self.build = advanced(self.build, event, **changes)
        else:
            self.build = await self._services.writer.write_until_accepted(
                store.builds.advance, self.build.id, event, **changes
            )

    async def _finish(self, lock: builder.LockText | None) -> None:
        """The build is built. A rebuild keeps the lock of the build."""
        if self.is_rebuild:
            await self._advance("built")
            return
        stored = None
        if lock is not None:
            stored = msgspec.convert(lock, StoredLock, from_attributes=True)
        self.build = await self._services.writer.write_until_accepted(
            store.builds.finish, self.build.id, stored, steps=self.steps
        )

    @property
    def interrupted_steps(self) -> list[Step]:
        """The steps as they are if the build ends now: the one that runs has failed."""
        return [
            msgspec.structs.replace(step, state="failed") if step.state == "running" else step
            for step in self.steps
        ]

    @property
    def steps(self) -> list[Step]:
        """The steps so far, as the store has them."""
        return [msgspec.convert(s, Step, from_attributes=True) for s in self.build_steps.steps]


def _request_of(build: Build, lock: str) -> BuildRequest:
    return BuildRequest(
        id=build.id,
        snapshot=build.snapshot,
        interpreter=build.interpreter,
        file=build.file,
        function=build.function,
        model_root=build.model_root,
        script=build.script,
        network=build.network,
        lock=lock,
        fresh=build.fresh,
    )


def _build_steps(steps: list[Step]) -> BuildSteps:
    """The steps so far of a build, which may have waited since before this start."""
    if not steps:
        return BuildSteps()
    return msgspec.convert({"steps": steps}, BuildSteps, from_attributes=True)
