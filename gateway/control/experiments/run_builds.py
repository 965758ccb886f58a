"""What the script of an experiment runs in: a build without a model, in the environment that the
project's builds share.

The build has the id of the experiment. It is made when the experiment's turn has come, and removed
when the experiment has ended. Its environment stays (`builds/environments.py`).
"""

import msgspec

from builder import BuildReport, BuildStore
from gateway.control.builds.build_executor import BuildExecutor, BuildRequest
from gateway.control.builds.environments import Environments
from gateway.control.builds.snapshots import Snapshots
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from store import Experiment, Project
from workers import Log

# The stream of an experiment's log before its script begins.
PREPARING = "preparing"


class SetupLog:
    """The part of an experiment's log that its script has not printed."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, line: str) -> None:
        self._log.write(line, PREPARING)


class ResolvedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment runs: the commit of its snapshot, with which interpreter."""

    snapshot: str
    interpreter: str


class RunBuilds:
    """The builds that experiments run in. They share the semaphore of builds."""

    def __init__(
        self,
        *,
        build_store: BuildStore,
        environments: Environments,
        snapshots: Snapshots,
        catalogue: RuntimeCatalogue,
        executor: BuildExecutor,
        semaphore: FairSemaphore,
    ) -> None:
        self._build_store = build_store
        self._environments = environments
        self._snapshots = snapshots
        self._catalogue = catalogue
        self._executor = executor
        self._semaphore = semaphore

    async def resolve(self, project: Project, experiment: Experiment, log: SetupLog) -> ResolvedRun:
        """Takes the snapshot, unless an earlier gateway did, and chooses the interpreter. Raises
        BuilderError and OSError."""
        if experiment.snapshot:
            snapshot = self._snapshots.find(project.id, experiment.snapshot)
        else:
            log.write("Taking a snapshot of the project")
            snapshot = await self._snapshots.take(project, experiment.id, log)
        if experiment.interpreter:
            choice = await self._catalogue.find(experiment.interpreter)
        else:
            asked = experiment.kernel, project, experiment.script
            choice = await self._catalogue.choose(*asked)
        return ResolvedRun(snapshot=snapshot.commit, interpreter=choice.identifier)

    async def make(self, project: Project, experiment: Experiment, log: SetupLog) -> BuildReport:
        """How the experiment's build ended. Raises UnknownKernel and CannotDecrypt."""
        await self._build_store.remove_files(experiment.id)  # of an earlier try
        request = BuildRequest(
            id=experiment.id,
            snapshot=experiment.snapshot,
            interpreter=experiment.interpreter,
            fresh=experiment.fresh,
        )
        async with self._semaphore.acquire(project.id):
            return await self._executor.execute(project, request, log)

    def environment_of(self, experiment: Experiment) -> str:
        """The id of the environment that an experiment runs in; "" before its build is made."""
        return self._build_store.environment_of(experiment.id)

    async def remove(self, experiment: Experiment) -> None:
        """Removes the build of an experiment that has ended, and environments that were used longer
        ago than the last few."""
        await self._build_store.remove_files(experiment.id)
        await self._environments.prune(experiment.project_id)
