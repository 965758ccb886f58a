"""One build, from the request for it to its end.

The snapshot is taken before the request is answered, so that later edits of the project are not in
the build. Then the build waits for a permit of the semaphore. Its row follows: pending, queued,
building, and one of the ends. A rebuild (`rebuild.py`) takes the same steps from its snapshot on,
without writing them to its row.
"""

import logging
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import trio

import builder
import store
from builder import BuildSpec, BuildSteps, Snapshot, match, take_snapshot
from gateway.control import failures
from gateway.control.builds.build_limits import git_runner, runner
from gateway.control.builds.probe import probe_for
from gateway.control.builds.rebuild import advanced, queued_again, replacing
from gateway.control.context import ControlContext
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.operation import Operation
from gateway.encryption import CannotDecrypt
from store import Build, Failure, Model, Project, Step
from workers import Log

logger = logging.getLogger(__name__)

# The stream of those lines in a build log that report its steps. Log files on disk have this name.
STEPS_STREAM = "journey"

_PATIENCE = 1.0

INTERRUPTED = Failure(
    step="",
    summary="The build was interrupted",
    problem="the gateway ended while the build was being made",
    advice="Build again.",
)


class BuildTask:
    """Makes one build. The milestone of its operation is the snapshot.

    `rebuild_reason` says why a build that was built is made once more; "" for a new build.
    """

    def __init__(
        self,
        context: ControlContext,
        semaphore: FairSemaphore,
        build: Build,
        rebuild_reason: str = "",
    ) -> None:
        self.build = queued_again(build) if rebuild_reason else build
        self.is_rebuild = bool(rebuild_reason)
        self.operation = Operation()
        self.log = Log(context.data.build_log(build.id))
        self.build_steps = _build_steps(self.build.steps)
        self._context = context
        self._semaphore = semaphore
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
            except CannotDecrypt as error:
                await self._fail(failures.unreadable(error))
            except Exception as error:
                logger.exception("build %s", self.build.id)
                await self._fail(failures.build_missing("", error))
            finally:
                self.log.close()

    async def _run_steps(self) -> None:
        database = self._context.database
        model = await database.read(store.models.get, self.build.model_id)
        project = await database.read(store.projects.get, model.project_id)
        if self.build.status == "pending" and not await self._take_snapshot(project):
            return
        self.operation.milestone.set()
        async with AsyncExitStack() as held:
            if self.is_rebuild:
                build_store = self._context.build_store
                await held.enter_async_context(replacing(build_store, self.build.id))
            await held.enter_async_context(self._semaphore.acquire(project.id))
            await self._make(model, project)

    async def _make(self, model: Model, project: Project) -> None:
        await self._advance("started")
        try:
            report = await builder.make_build(
                await self._spec(project),
                run=await runner(self._context, project, self.build.id, self.build.network),
                probe=probe_for(self._context, self.build, model, project, self.log),
                log=self.log,
                changed=self._on_step_changed,
                steps=self.build_steps,
            )
        except trio.Cancelled:
            # If the disk does not take it now, the next start will say the same.
            with trio.move_on_after(_PATIENCE, shield=True):
                await self._advance("interrupted", failure=INTERRUPTED)
            raise
        if report.failure is None:
            await self._advance("built")
        elif self._context.workers.ending:
            await self._advance("interrupted", failure=INTERRUPTED)
        else:
            await self._fail(failures.of_report(report.failure), report.outcome)

    async def _take_snapshot(self, project: Project) -> bool:
        """Whether it could be taken."""
        step, began = builder.SNAPSHOT, trio.current_time()
        self._on_step_changed(self.build_steps.start(step, store.now()))
        self.log.write("Taking a snapshot of the project")
        git_store = self._context.data.snapshots(project.id)
        try:
            async with self._context.snapshot_slots.acquire(project.id):
                path = Path(project.path)
                snapshot = await take_snapshot(
                    *(path, git_store, self.build.id, self.log),
                    run=await git_runner(self._context, project),
                )
        except (builder.BuilderError, OSError) as error:
            self._on_step_changed(self.build_steps.fail(step, trio.current_time() - began))
            await self._fail(failures.build_missing(step, error))
            return False
        self._on_step_changed(self.build_steps.finish(step, trio.current_time() - began))
        interpreter = match(self.build.kernel, await self._context.interpreters.all())
        await self._advance(
            "snapshotted", snapshot=snapshot.commit, interpreter=interpreter.identifier
        )
        return True

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
            self.build = await self._context.writer.write_until_accepted(
                store.builds.advance, self.build.id, event, **changes
            )

    @property
    def steps(self) -> list[Step]:
        """The steps so far, as the store has them."""
        return [msgspec.convert(s, Step, from_attributes=True) for s in self.build_steps.steps]

    async def _spec(self, project: Project) -> BuildSpec:
        context, build = self._context, self.build
        interpreter = match(build.interpreter, await context.interpreters.all())
        return BuildSpec(
            snapshot=Snapshot(context.data.snapshots(project.id), build.snapshot),
            folder=context.build_store.folder(build.id),
            home=context.sandbox.home_of(build.id),
            interpreter=interpreter.path,
            file=build.file,
            function=build.function,
            model_root=build.model_root,
            script=build.script,
            variables=context.variables.of_build(project, build.id),
            time_limit=context.settings.build_timeout,
            pip_cache=context.data.pip_cache(project.id),
        )


def _build_steps(steps: list[Step]) -> BuildSteps:
    """The steps so far of a build, which may have waited since before this start."""
    if not steps:
        return BuildSteps()
    return msgspec.convert({"steps": steps}, BuildSteps, from_attributes=True)
