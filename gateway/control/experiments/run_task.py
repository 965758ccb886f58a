"""One experiment, from the request for it to its end.

The snapshot is taken before the request is answered. Then the experiment waits for its turn, for
its environment and for free memory; only then does its row say that it runs. So a gateway that ends
before that loses nothing. A script that has begun is not run a second time: what it did outside
cannot be undone.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio

import builder
import store
from builder import Snapshot, match, take_snapshot
from gateway.control import failures, sandbox_uids
from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.builds.build_limits import git_runner
from gateway.control.context import ControlContext
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.experiments.environments import Environments, SetupLog
from gateway.control.experiments.metrics_file import not_kept, read_metrics_file
from gateway.control.failure_causes import place_of_script
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.operation import Operation
from gateway.control.resources import NotEnoughMemory, Script
from gateway.encryption import CannotDecrypt
from store import Experiment, Failure, Project
from workers import Log, RunSpec
from workers.sizes import MIB

logger = logging.getLogger(__name__)

# What cannot be written within so many seconds while the gateway ends is written by the next one.
_PATIENCE = 1.0
_LOOK_AGAIN = 1.0

INTERRUPTED = Failure(
    step="RUN",
    summary="The gateway ended",
    problem="the script ran then, and was ended with it",
    advice="Run it again.",
)


class RunTask:
    """Runs one experiment. The milestone of its operation is the snapshot."""

    def __init__(
        self,
        context: ControlContext,
        environments: Environments,
        semaphore: FairSemaphore,
        experiment: Experiment,
        ending: trio.Event,
    ) -> None:
        self.experiment = experiment
        self.folder = context.data.experiment(experiment.id)
        self.log = Log(context.data.experiment_log(experiment.id))
        self._preparing = SetupLog(self.log)
        self.operation = Operation(lambda what: self._preparing.write(f"Waiting for {what}"))
        self._context = context
        self._environments = environments
        self._semaphore = semaphore
        self._ending = ending
        self._stop_requested = False

    async def run(self) -> None:
        """Runs the experiment. Its row and its log say how that ended. Raises NotFound when the row
        was deleted."""
        with self.operation.lifetime():
            try:
                with self.operation.cancellable():
                    await self._run_steps()
                if self._stop_requested:
                    with suppress(store.IllegalTransition):  # it had ended by itself
                        await self._end("stop")
                        self.log.write("[predictd] the experiment was stopped", "stderr")
            except store.NotFound:
                raise
            except CannotDecrypt as error:
                await self._fail(failures.unreadable(error))
            except Exception as error:
                logger.exception("experiment %d", self.experiment.number)
                with suppress(store.IllegalTransition):  # it had ended before
                    await self._fail(failures.run_failed(error))
            finally:
                self.log.close()

    async def stop(self) -> None:
        """Returns when nothing of the experiment runs and its row says how it ended."""
        self._stop_requested = True
        await self.operation.cancel_and_wait()

    async def _run_steps(self) -> None:
        database, experiment = self._context.database, self.experiment
        project = await database.read(store.projects.get, experiment.project_id)
        if not await self._prepare(project):
            return
        self.operation.milestone.set()
        if not self._semaphore.is_free(project.id):
            self.operation.wait_for("its turn")
        async with self._semaphore.acquire(project.id):
            self.operation.waiting_for = "its environment"
            failure = await self._environments.ready(project, self.experiment, self._preparing)
            if failure is not None:
                await self._fail(failure)
                return
            async with self._memory() as script:
                if self._ending.is_set():
                    await trio.sleep_forever()  # the next gateway runs it
                keys = WorkloadKeys(self._context.accounts, self._context.permissions)
                key = keys.issued(experiment.creator, experiment.project_id, "run")
                with key as key_variables:
                    await self._run_script(project, script, key_variables)

    async def _prepare(self, project: Project) -> bool:
        """Records what runs in which environment. False if that failed. Variables and interpreters
        may have changed since an earlier gateway took the snapshot."""
        kernel = self.experiment.interpreter or self.experiment.kernel
        try:
            snapshot = await self._snapshot(project)
            interpreter = match(kernel, await self._context.interpreters.all())
            environment_id = await self._environments.identify(project, snapshot, interpreter)
        except (builder.BuilderError, OSError) as error:
            await self._fail(failures.run_failed(error))
            return False
        self.experiment = await self._context.writer.write_until_accepted(
            store.experiments.update,
            self.experiment.id,
            snapshot=snapshot.commit,
            interpreter=interpreter.identifier,
            environment_id=environment_id,
        )
        return True

    async def _snapshot(self, project: Project) -> Snapshot:
        """Taken now, unless an earlier gateway did. Raises SnapshotFailed."""
        git_store = self._context.data.snapshots(project.id)
        if self.experiment.snapshot:
            return Snapshot(git_store, self.experiment.snapshot)
        self._preparing.write("Taking a snapshot of the project")
        path, name = Path(project.path), self.experiment.id
        async with self._context.snapshot_slots.acquire(project.id):
            return await take_snapshot(
                *(path, git_store, name, self._preparing),
                run=await git_runner(self._context, project),
            )

    @asynccontextmanager
    async def _memory(self) -> AsyncIterator[Script]:
        """Waits until the memory that it asked for is free, and reserves it inside the block."""
        asked = NewDeployment(
            cpu_millicores=self.experiment.cpu_millicores,
            memory_mb=self.experiment.memory_mb,
            replicas=1,
        )
        resources, wait_for = self._context.resources, self.operation.wait_for
        async with AsyncExitStack() as reserved:
            while True:
                reservation = resources.reserve_for_script(
                    asked, self.experiment.project_id, wait_for
                )
                try:
                    script = await reserved.enter_async_context(reservation)
                    break
                except NotEnoughMemory as error:
                    wait_for(str(error))
                    await trio.sleep(_LOOK_AGAIN)
            self.operation.waiting_for = ""
            yield script

    async def _run_script(self, project: Project, script: Script, key: dict[str, str]) -> None:
        """`key` are the variables by which the script finds its key."""
        context, experiment = self._context, self.experiment
        sealed = context.build_store.folder(experiment.environment_id)
        memory, cpu = experiment.memory_mb * MIB, experiment.cpu_millicores
        limits = context.sandbox.limits(memory, cpu)
        spec = RunSpec(
            code=sealed / "code",
            environment=sealed / "environment",
            prefix=context.build_store.prefix(experiment.environment_id),
            built=context.sandbox.built_at(experiment.environment_id),
            script=experiment.script,
            arguments=tuple(experiment.arguments),
            folder=self.folder.folder,
            kept=self.folder.kept,
            variables=key | context.variables.of_experiment(project, experiment, self.folder),
            limits=await context.project_usage.within(project, limits),
            network=experiment.network,
            identity=sandbox_uids.of_experiment(experiment),
        )
        self.experiment = await context.writer.write_until_accepted(
            store.experiments.start, experiment.id
        )
        self._preparing.write(f"Running {experiment.script}")
        try:
            ended = await context.workers.run_experiment(spec, self.log, script.takes)
        except trio.Cancelled:
            if not self.operation.cancelled:
                # If the disk does not take it now, the next start will say the same.
                with trio.move_on_after(_PATIENCE, shield=True):
                    self.log.write(f"[predictd] {INTERRUPTED.summary.lower()}", "stderr")
                    await self._end("interrupted", failure=INTERRUPTED)
            raise
        failure = None
        if ended.status != 0 or ended.reason.cause is not None:
            place = place_of_script(spec.code, experiment.script, Path(project.path))
            told = partial(failures.script_failed, ended, self.log.tail(20), place)
            failure = await trio.to_thread.run_sync(told)
        event = "succeeded" if failure is None else "failed"
        await self._end_by_itself(event, failure=failure, exit_status=ended.status)

    async def _end_by_itself(self, event: str, **changes: object) -> None:
        """Who stops it now, or the gateway, comes too late."""
        try:
            await self._end(event, **changes)
        except trio.Cancelled:
            with trio.move_on_after(_PATIENCE, shield=True):
                await self._end(event, **changes)
            raise

    async def _fail(self, failure: Failure) -> None:
        """It did not come to its script, or not to the script's end."""
        self._preparing.write(f"{failure.summary}: {failure.problem}\n{failure.advice}")
        await self._end("failed", failure=failure)

    async def _end(self, event: str, **changes: object) -> None:
        tracked = await trio.to_thread.run_sync(read_metrics_file, self.folder.metrics)
        if told := not_kept(tracked):
            self.log.write(told, "stderr")
        self.experiment = await self._context.writer.write_until_accepted(
            store.experiments.end, self.experiment.id, event, tracked.points, **changes
        )
