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

import msgspec
import trio

import builder
import store
from builder import Snapshot
from gateway.control import failures
from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.experiments.metrics_file import not_kept, read_metrics_file
from gateway.control.experiments.run_builds import RunBuilds, SetupLog
from gateway.control.experiments.run_spec import RunSpecs
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.gpu_reservations import GpuReservations
from gateway.control.operation import Operation, OperationTimeouts
from gateway.control.resources import HostResources, NotEnoughMemory, ScriptMemory
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.source_files import script_source
from gateway.data_folder import DataFolder
from gateway.encryption import CannotDecrypt
from store import Database, Experiment, Failure, Project
from workers import Log, Workers

logger = logging.getLogger(__name__)
_OURS = "[predictd] "


class RunServices(msgspec.Struct, frozen=True, kw_only=True):
    """What each run task works with."""

    database: Database
    writer: RetryingWriter
    workers: Workers
    data: DataFolder
    run_builds: RunBuilds
    resources: HostResources
    gpus: GpuReservations
    run_specs: RunSpecs
    keys: WorkloadKeys
    timeouts: OperationTimeouts


class RunTask:
    """Runs one experiment. The milestone of its operation is the snapshot."""

    def __init__(
        self,
        services: RunServices,
        semaphore: FairSemaphore,
        experiment: Experiment,
        ending: trio.Event,
    ) -> None:
        self.experiment = experiment
        self.folder = services.data.experiment(experiment.id)
        self.log = Log(services.data.experiment_log(experiment.id))
        self._preparing = SetupLog(self.log)
        self.operation = Operation(lambda what: self._preparing.write(f"Waiting for {what}"))
        self._services = services
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
                logger.exception("experiment.crashed number=%d", self.experiment.number)
                with suppress(store.IllegalTransition):  # it had ended before
                    await self._fail(failures.run_failed(error))
            finally:
                self.log.close()

    async def stop(self) -> None:
        """Returns when nothing of the experiment runs and its row says how it ended."""
        self._stop_requested = True
        await self.operation.cancel_and_wait()

    async def _run_steps(self) -> None:
        database, experiment = self._services.database, self.experiment
        project = await database.read(store.projects.get, experiment.project_id)
        if not await self._prepare(project):
            return
        self.operation.milestone.set()
        async with self._gpus():
            await self._run_in_turn(project)

    @asynccontextmanager
    async def _gpus(self) -> AsyncIterator[None]:
        """Waits for the GPUs that it asked for, and reserves them inside the block. It has no turn
        meanwhile: others, which need no GPU, would wait for it."""
        if not self.experiment.nvidia_gpus:
            yield
            return
        gpus = self._services.gpus
        reserved = await gpus.reserve(
            self.experiment.project_id, self.experiment.nvidia_gpus, self.operation.wait_for
        )
        self.operation.waiting_for = ""
        with gpus.held(reserved[0] if reserved else None):
            yield

    async def _run_in_turn(self, project: Project) -> None:
        if not self._semaphore.is_free(project.id):
            self.operation.wait_for("its turn")
        async with self._semaphore.acquire(project.id):
            self.operation.waiting_for = "its environment"
            report = await self._services.run_builds.make(project, self.experiment, self._preparing)
            if report.failure is not None:
                await self._fail(failures.of_report(report.failure))
                return
            async with self._memory() as memory:
                if self._ending.is_set():
                    await trio.sleep_forever()  # the next gateway runs it
                user = self.experiment.creator
                with self._services.keys.issued(user, project.id, "run") as key:
                    await self._run_script(project, memory, key, report.lock)

    async def _prepare(self, project: Project) -> bool:
        """Records what runs with which interpreter. False if that failed. Interpreters may have
        changed since an earlier gateway took the snapshot."""
        try:
            found = await self._services.run_builds.resolve(
                project, self.experiment, self._preparing
            )
        except (builder.BuilderError, OSError) as error:
            await self._fail(failures.run_failed(error))
            return False
        self.experiment = await self._services.writer.write_until_accepted(
            store.experiments.update, self.experiment.id, **msgspec.structs.asdict(found)
        )
        return True

    @asynccontextmanager
    async def _memory(self) -> AsyncIterator[ScriptMemory]:
        """Waits until the memory that it asked for is free, and reserves it inside the block."""
        asked = NewDeployment(
            cpu_millicores=self.experiment.cpu_millicores,
            memory_mb=self.experiment.memory_mb,
            replicas=1,
        )
        resources, wait_for = self._services.resources, self.operation.wait_for
        async with AsyncExitStack() as reserved:
            while True:
                reservation = resources.reserve_for_script(
                    asked, self.experiment.project_id, wait_for
                )
                try:
                    memory = await reserved.enter_async_context(reservation)
                    break
                except NotEnoughMemory as error:
                    wait_for(str(error))
                    await trio.sleep(self._services.timeouts.memory_retry)
            self.operation.waiting_for = ""
            yield memory

    async def _run_script(
        self,
        project: Project,
        memory: ScriptMemory,
        key: dict[str, str],
        lock: builder.LockText | None,
    ) -> None:
        """`key` are the variables by which the script finds its key."""
        services, experiment = self._services, self.experiment
        spec = await services.run_specs.describe(project, experiment, self.folder, key)
        environment = services.run_builds.environment_of(experiment)
        await services.writer.write_until_accepted(
            store.experiments.update,
            experiment.id,
            environment_id=environment,
            lock_id=lock.id if lock else "",
            packages=lock.packages if lock else None,
        )
        self.experiment = await services.writer.write_until_accepted(
            store.experiments.start, experiment.id
        )
        self._preparing.write(f"Running {experiment.script}")
        try:
            ended = await services.workers.run_experiment(spec, self.log, memory.measure_by)
        except trio.Cancelled:
            if not self.operation.cancelled:
                # If the disk does not accept it now, the next start writes the same.
                with trio.move_on_after(self._services.timeouts.last_write, shield=True):
                    self.log.write(
                        f"[predictd] {failures.RUN_INTERRUPTED.summary.lower()}", "stderr"
                    )
                    await self._end("interrupted", failure=failures.RUN_INTERRUPTED)
            raise
        failure = None
        if ended.status != 0 or ended.reason.cause is not None:
            snapshot = Snapshot(services.data.snapshots(project.id), experiment.snapshot)
            source = script_source(spec.code, experiment.script, Path(project.path), snapshot)
            # What is said of its files comes after its own last line.
            printed = [line for line in self.log.tail(200) if not line.text.startswith(_OURS)][-20:]
            explain = partial(failures.script_failed, ended, printed, source)
            failure = await trio.to_thread.run_sync(explain)
        event = "succeeded" if failure is None else "failed"
        await self._end_by_itself(event, failure=failure, exit_status=ended.status)

    async def _end_by_itself(self, event: str, **changes: object) -> None:
        """The script has ended: a cancellation comes too late."""
        try:
            await self._end(event, **changes)
        except trio.Cancelled:
            with trio.move_on_after(self._services.timeouts.last_write, shield=True):
                await self._end(event, **changes)
            raise

    async def _fail(self, failure: Failure) -> None:
        """For an experiment whose script has not begun, or has not ended."""
        self._preparing.write(f"{failure.summary}: {failure.problem}\n{failure.advice}")
        await self._end("failed", failure=failure)

    async def _end(self, event: str, **changes: object) -> None:
        metrics = await trio.to_thread.run_sync(read_metrics_file, self.folder.metrics)
        if warning := not_kept(metrics):
            self.log.write(warning, "stderr")
        self.experiment = await self._services.writer.write_until_accepted(
            store.experiments.end, self.experiment.id, event, metrics.points, **changes
        )
