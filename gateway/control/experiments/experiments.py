"""Experiments: created, found, stopped, deleted. How one is run is in run_task.py.

At the start, an experiment that ran when the last gateway ended has failed; one that waited
continues to wait.
"""

import stat
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

import store
from builder import Folder, Interpreter
from gateway.background import Tasks
from gateway.control import failures
from gateway.control.admission import Admission
from gateway.control.backlog import Backlog
from gateway.control.deployments.new_deployment import NewDeployment, check_deployment
from gateway.control.experiments.metrics_file import read_metrics_file
from gateway.control.experiments.run_files import RunFiles
from gateway.control.experiments.run_task import RunServices, RunTask
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.operation import Operations, ended_log
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from gateway.control.sandbox import Sandbox
from gateway.errors import Refusal
from store import Experiment, Project, RunMetric, User
from workers import Log, Network

# Beside the script, all that is handed to it.
_MOST_ARGUMENTS = 64 * 1024


class NewExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `script` is a file of the project."""

    script: str
    arguments: list[str] = []
    kernel: str = ""
    comment: str = ""
    cpu_millicores: int
    memory_mb: int
    nvidia_gpus: int = 0
    network: Network = "machine"
    # Patterns of the new and changed files that it keeps.
    keep: list[str] = msgspec.field(default_factory=lambda: ["*"])
    fresh: bool = False


class Experiments:
    """All experiments of all projects."""

    def __init__(
        self,
        services: RunServices,
        *,
        settings: RuntimeSettings,
        tasks: Tasks,
        sandbox: Sandbox,
        catalogue: RuntimeCatalogue,
        admission: Admission,
        files: RunFiles,
    ) -> None:
        self._services = services
        self._sandbox = sandbox
        self._catalogue = catalogue
        self._admission = admission
        self._files = files
        self._semaphore = FairSemaphore(settings.current.max_concurrent_experiments)
        settings.subscribe(lambda now: self._semaphore.resize(now.max_concurrent_experiments))
        self._operations: Operations[RunTask] = Operations(tasks)
        self._backlog = Backlog("experiments")
        self._ending = trio.Event()

    async def hiding_line(self, project: Project, path: str) -> str:
        """See `RunFiles.hiding_line`."""
        return await self._files.hiding_line(project, path)

    async def recover(self) -> None:
        """Ends the experiments that ran in the last gateway, and continues those that waited."""
        unfinished = await self._services.database.read(store.experiments.unfinished)
        for experiment in unfinished:
            if experiment.status == "running":
                with self._files.recovery_of(experiment):
                    await self._end_interrupted(experiment)
            else:
                self._start(experiment)

    async def _end_interrupted(self, experiment: Experiment) -> None:
        metrics = await trio.to_thread.run_sync(self._files.recover, experiment)
        end = partial(store.experiments.end, failure=failures.RUN_INTERRUPTED)
        await self._services.writer.write_or_retry_later(
            end, experiment.id, "interrupted", metrics.points
        )

    def stop_starting(self) -> None:
        """The gateway is about to end: a script that would begin now waits for the next one."""
        self._ending.set()

    async def create(self, project: Project, asked: NewExperiment, creator: User) -> Experiment:
        """Creates an experiment and takes its snapshot. Raises UnknownKernel or Refusal."""
        await self._check(project, asked)
        with self._backlog.joining(project.id, self._unended(project)):
            asked_for = Experiment(
                project_id=project.id, creator=creator.name, **msgspec.structs.asdict(asked)
            )
            experiment = await self._services.database.write(store.experiments.insert, asked_for)
            task = self._start(experiment)
        await task.operation.milestone.wait()
        return task.experiment

    async def _check(self, project: Project, asked: NewExperiment) -> None:
        choice = await self._catalogue.choose(asked.kernel, project, asked.script)
        _check_language(asked.script, choice.interpreter)
        size = NewDeployment(
            cpu_millicores=asked.cpu_millicores,
            memory_mb=asked.memory_mb,
            replicas=1,
            nvidia_gpus=asked.nvidia_gpus,
        )
        check_deployment(size, most_replicas=1)
        self._sandbox.check_network(asked.network)
        self._services.resources.check(size, now=False)
        self._services.gpus.check(size.nvidia_gpus)
        if any("\0" in each for each in asked.arguments):
            raise Refusal("argument.invalid", "arguments: none can hold a null character")
        if sum(len(each.encode()) + 1 for each in asked.arguments) > _MOST_ARGUMENTS:
            raise Refusal("argument.invalid", "arguments: too much; put it into a file")
        if project.creation_status != "success":
            text = f"the creation of project {project.name!r} is not a success yet"
            raise Refusal("state.conflict", text)
        await trio.to_thread.run_sync(_check_script, Path(project.path), asked.script)
        self._backlog.check(project.id, self._unended(project))
        await self._admission.check(project, "an experiment")

    def _unended(self, project: Project) -> int:
        return sum(1 for each in self._operations if each.experiment.project_id == project.id)

    def _start(self, experiment: Experiment) -> RunTask:
        task = RunTask(self._services, self._semaphore, experiment, self._ending)
        return self._operations.start(experiment.id, task, self._clean_up)

    async def _clean_up(self, task: RunTask) -> None:
        """Removes what is not needed once the rows have the metrics, and measures what is left."""
        experiment = task.experiment
        await self._files.remove_metrics(experiment)
        await self._services.run_builds.remove(experiment)
        with suppress(store.NotFound):
            project = await self._services.database.read(store.projects.get, experiment.project_id)
            await self._admission.measure(project, task.folder.folder)

    async def wait(self, experiment_id: str) -> Experiment:
        """The experiment at its end. Raises NotFound."""
        await self._operations.wait_ended(experiment_id)
        return await self._services.database.read(store.experiments.get, experiment_id)

    def waiting_for(self, experiment_id: str) -> str:
        """What it cannot continue without, in words; "" for one that does not wait."""
        return self._operations.waiting_for(experiment_id)

    def log(self, experiment_id: str) -> Log:
        """The experiment's log, closed once it has ended."""
        task = self._operations.get(experiment_id)
        return task.log if task else ended_log(self._services.data.experiment_log(experiment_id))

    async def points(self, experiment: Experiment) -> list[RunMetric]:
        """Every metric that it has recorded, so far."""
        database = self._services.database
        if experiment.ended_at is None:
            path = self._services.data.experiment(experiment.id).metrics
            metrics = await trio.to_thread.run_sync(read_metrics_file, path)
            experiment = await database.read(store.experiments.get, experiment.id)
            if experiment.ended_at is None:
                return metrics.points
        return await database.read(store.experiments.points, experiment.id)

    async def stop(self, experiment: Experiment) -> Experiment:
        """Stops it and returns it when nothing of it runs. Raises IllegalTransition if it has ended
        already."""
        task = self._operations.get(experiment.id)
        if task is None or task.operation.ended.is_set():
            status = task.experiment.status if task else experiment.status
            raise store.IllegalTransition("experiment", status, "stop")
        await task.stop()
        return task.experiment

    async def delete(self, experiment: Experiment) -> None:
        """Deletes the experiment, cancelled first if it has not ended."""
        await self._services.database.write(store.experiments.delete, experiment.id)
        await self.free(experiment)

    async def free(self, experiment: Experiment) -> None:
        """Cancels an experiment whose row is deleted, and removes its files."""
        if (task := self._operations.get(experiment.id)) is not None:
            await task.operation.cancel_and_wait()
            experiment = task.experiment
        await self._services.run_builds.remove(experiment)
        await self._files.remove(experiment, self.log(experiment.id))


def _check_language(script: str, interpreter: Interpreter) -> None:
    """Raises Refusal for a kernel that cannot run a script of this name."""
    endings = {"python": ".r", "r": ".py"}
    if script.lower().endswith(endings[interpreter.language]):
        text = f"kernel: {script!r} is no script of {interpreter.kernel}: leave the kernel out"
        raise Refusal("argument.invalid", text)


def _check_script(root: Path, script: str) -> None:
    """Raises Refusal for a script that is no file of the project."""
    if not script or "\0" in script or Path(script).is_absolute() or ".." in Path(script).parts:
        raise Refusal("path.refused", f"script: {script!r} is not inside the project")
    *above, name = Path(script).parts or ("",)
    try:
        with Folder.root(root) as top, top.folder(above) as folder:
            mode = folder.status(name).st_mode
    except NotADirectoryError:
        return  # a link in the path is not followed here: the run shows what it leads to
    except (OSError, ValueError):  # such as a name that is too long, or none at all
        mode = 0
    # What a link leads to is not looked at either: that would show which files the machine has.
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise Refusal("file.notfound", f"script: there is no file {script!r} in the project")
