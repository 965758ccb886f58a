"""The environments of experiments: the files of a project with what they need, shared by all
experiments that are alike.

An environment is a build without a model, in the same build store. Its id is a keyed hash of what
it is made from: the tree of the snapshot, the interpreter, and the variables that users have set,
which are secrets. So the build store alone says whether an environment exists. An experiment names
its environment in its row before it looks for it. An environment that no unfinished experiment
names can be removed.
"""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid5
from weakref import WeakValueDictionary

import msgspec
import trio

import builder
import store
from builder import BuildStore
from gateway.control import failures
from gateway.control.builds.build_executor import BuildExecutor, BuildRequest
from gateway.control.builds.snapshots import Snapshots
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.runtimes.catalogue import RuntimeCatalogue, RuntimeChoice
from gateway.control.sandbox import Sandbox
from gateway.control.variables import ProcessVariables
from gateway.encryption import Encryption
from store import Database, Experiment, Failure, Project
from workers import Log

# The stream of an experiment's log before its script begins.
PREPARING = "preparing"
# The environments that are kept of each project, for the next experiments.
KEPT = 3


class SetupLog:
    """The part of an experiment's log that its script has not printed."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, line: str) -> None:
        self._log.write(line, PREPARING)


class ResolvedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment runs: the commit of its snapshot, in which environment."""

    snapshot: str
    interpreter: str
    environment_id: str


class Environments:
    """The environments of all projects. They share the semaphore of builds."""

    def __init__(
        self,
        *,
        database: Database,
        build_store: BuildStore,
        encryption: Encryption,
        variables: ProcessVariables,
        sandbox: Sandbox,
        snapshots: Snapshots,
        catalogue: RuntimeCatalogue,
        executor: BuildExecutor,
        semaphore: FairSemaphore,
    ) -> None:
        self._database = database
        self._build_store = build_store
        self._encryption = encryption
        self._variables = variables
        self._sandbox = sandbox
        self._snapshots = snapshots
        self._catalogue = catalogue
        self._executor = executor
        self._semaphore = semaphore
        # Each is locked while it is looked for, made or removed.
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    async def resolve(self, project: Project, experiment: Experiment, log: SetupLog) -> ResolvedRun:
        """Takes the snapshot, unless an earlier gateway did, and finds what it runs in. Raises
        BuilderError, OSError and CannotDecrypt."""
        if experiment.snapshot:
            snapshot = self._snapshots.find(project.id, experiment.snapshot)
        else:
            log.write("Taking a snapshot of the project")
            snapshot = await self._snapshots.take(project, experiment.id, log)
        if experiment.interpreter:
            choice = await self._catalogue.find(experiment.interpreter)
        else:
            choice = await self._catalogue.choose(experiment.kernel, project)
        return ResolvedRun(
            snapshot=snapshot.commit,
            interpreter=choice.identifier,
            environment_id=environment_id_of(
                self._encryption,
                project.id,
                await builder.tree_of(snapshot),
                choice,
                self._variables.set_by_users(project),
            ),
        )

    def folder(self, environment_id: str) -> Path:
        return self._build_store.folder(environment_id)

    async def ready(
        self, project: Project, experiment: Experiment, log: SetupLog
    ) -> Failure | None:
        """Returns when the experiment's environment is complete, or why it never will be."""
        environment_id = experiment.environment_id
        async with self._lock(environment_id):
            if self._build_store.sealed(environment_id) is not None:
                named = await self._sandbox.file_naming_missing_home(environment_id)
                if not named:
                    log.write("The environment of these files exists already")
                    return None
                log.write(f"Rebuilding the environment: {named} names another home")
                await self._build_store.remove(environment_id)
            request = BuildRequest(
                id=environment_id,
                snapshot=experiment.snapshot,
                interpreter=experiment.interpreter,
            )
            async with self._semaphore.acquire(project.id):
                report = await self._executor.execute(project, request, log)
        return failures.of_report(report.failure) if report.failure else None

    async def prune(self, project_id: str) -> None:
        """Removes those of a project that were used longest ago and are not used now."""
        listed = await self._database.read(store.experiments.list_all, project_id)
        for environment_id in used(listed)[KEPT:]:
            if self._build_store.folder(environment_id).exists():  # most were removed before
                await self.remove_unused(environment_id)

    async def unused(self) -> list[str]:
        """The complete ones that no unfinished experiment names."""
        listed = await self._database.read(store.experiments.list_all)
        busy = {each.environment_id for each in listed if each.ended_at is None}
        found = [each for each in used(listed) if each not in busy]
        return [each for each in found if self._build_store.sealed(each) is not None]

    async def remove_unused(self, environment_id: str) -> bool:
        """Removes an environment unless an unfinished experiment names it. Whether it did."""
        async with self._lock(environment_id):
            unfinished = await self._database.read(store.experiments.unfinished)
            if environment_id in {each.environment_id for each in unfinished}:
                return False
            await self._build_store.remove(environment_id)
            return True

    async def forget(self, environment_id: str) -> None:
        """Removes an environment that no experiment names, if it exists."""
        if not environment_id:
            return
        async with self._lock(environment_id):
            if not await self._database.read(store.experiments.environment_in_use, environment_id):
                await self._build_store.remove(environment_id)

    def _lock(self, environment_id: str) -> trio.Lock:
        return self._locks.setdefault(environment_id, trio.Lock())


def environment_id_of(
    encryption: Encryption,
    project_id: str,
    tree: str,
    choice: RuntimeChoice,
    variables: dict[str, str],
) -> str:
    """The id of the environment that the tree of a snapshot runs in. Keyed: the id is shown, and
    from a plain hash the values of variables could be guessed."""
    parts = [tree, choice.identifier, choice.interpreter.version, sorted(variables.items())]
    keyed = encryption.keyed_hash("environment", msgspec.json.encode(parts))
    return str(uuid5(UUID(project_id), keyed))


def used(experiments: Sequence[Experiment]) -> list[str]:
    """The environments of experiments (in ascending order), the last used first."""
    named = (each.environment_id for each in reversed(experiments) if each.environment_id)
    return list(dict.fromkeys(named))
