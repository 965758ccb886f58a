"""What experiments run in: a project's files with their environment, made once for all that are
alike.

An environment is a build without a model, on the same shelf. Its id is made from what it is made
from (the tree of the snapshot, the interpreter, and the variables that people have set) by a hash
with a key, since variables are secrets. So whether
there is one is seen on the shelf, and nothing else has to be remembered. An experiment names its
environment in its row before it looks for it; one that no unfinished experiment names can go.
"""

from collections.abc import Sequence
from uuid import UUID, uuid5
from weakref import WeakValueDictionary

import msgspec
import trio

import builder
import store
from builder import BuildSpec, BuildSteps, Interpreter, Snapshot
from gateway.control import failures
from gateway.control.builds.build_limits import runner
from gateway.control.builds.builds import Builds
from gateway.control.context import ControlContext
from store import Experiment, Failure, Project
from workers import Log

# The stream of an experiment's log before its script begins.
PREPARING = "preparing"
# Of a project: so many are left for those who run something again.
KEPT = 3


class SetupLog:
    """What an experiment's log tells before its script begins: not the script's own words."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, line: str) -> None:
        self._log.write(line, PREPARING)


class Environments:
    """Those of all projects."""

    def __init__(self, context: ControlContext, builds: Builds) -> None:
        self._context = context
        self._builds = builds
        # Held while one is looked for, made or removed.
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    async def identify(self, project: Project, snapshot: Snapshot, interpreter: Interpreter) -> str:
        """The id of the environment that a snapshot runs in. Raises SnapshotFailed and
        CannotDecrypt."""
        tree = await builder.tree_of(snapshot)
        variables = sorted(self._context.variables.set_by_users(project).items())
        parts = [tree, interpreter.identifier, interpreter.version, variables]
        # With a key: the id is shown, and values could be guessed until a plain hash fits.
        keyed = self._context.encryption.keyed_hash("environment", msgspec.json.encode(parts))
        return str(uuid5(UUID(project.id), keyed))

    async def ready(
        self, project: Project, experiment: Experiment, log: SetupLog
    ) -> Failure | None:
        """Returns when the experiment's environment stands on the shelf, or why it never will."""
        environment_id = experiment.environment_id
        async with self._lock(environment_id):
            if self._context.build_store.sealed(environment_id) is not None:
                sandbox = self._context.sandbox
                if not (named := await sandbox.file_naming_missing_home(environment_id)):
                    log.write("The environment of these files is there already")
                    return None
                log.write(f"Made again, since the project stood elsewhere as {named} tells")
                await self._context.build_store.remove(environment_id)
            async with self._builds.semaphore.acquire(project.id):
                report = await builder.make_build(
                    await self._spec(project, experiment),
                    run=await runner(self._context, project, environment_id),
                    probe=None,
                    log=log,
                    changed=_ignore_steps,
                )
        if report.failure is None:
            return None
        return failures.of_report(report.failure)

    async def _spec(self, project: Project, experiment: Experiment) -> BuildSpec:
        context, environment_id = self._context, experiment.environment_id
        interpreter = builder.match(experiment.interpreter, await context.interpreters.all())
        return BuildSpec(
            snapshot=Snapshot(context.data.snapshots(project.id), experiment.snapshot),
            folder=context.build_store.folder(environment_id),
            home=context.sandbox.home_of(environment_id),
            interpreter=interpreter.path,
            variables=context.variables.of_build(project, environment_id),
            time_limit=context.settings.build_timeout,
            pip_cache=context.data.pip_cache(project.id),
        )

    async def prune(self, project_id: str) -> None:
        """Removes those of a project that were used longest ago and are not used now."""
        listed = await self._context.database.read(store.experiments.list_all, project_id)
        for environment_id in used(listed)[KEPT:]:
            if self._context.build_store.folder(environment_id).exists():  # of most it is long gone
                await self.remove_unused(environment_id)

    async def unused(self) -> list[str]:
        """Those on the shelf that no unfinished experiment needs."""
        listed = await self._context.database.read(store.experiments.list_all)
        busy = {each.environment_id for each in listed if each.ended_at is None}
        found = [each for each in used(listed) if each not in busy]
        return [each for each in found if self._context.build_store.sealed(each) is not None]

    async def remove_unused(self, environment_id: str) -> bool:
        """Removes one, unless somebody needs it. Whether it did."""
        async with self._lock(environment_id):
            unfinished = await self._context.database.read(store.experiments.unfinished)
            if environment_id in {each.environment_id for each in unfinished}:
                return False
            await self._context.build_store.remove(environment_id)
            return True

    async def forget(self, environment_id: str) -> None:
        """Removes one that no experiment names any more; no matter if it is not there."""
        if not environment_id:
            return
        async with self._lock(environment_id):
            if not await self._context.database.read(
                store.experiments.environment_in_use, environment_id
            ):
                await self._context.build_store.remove(environment_id)

    def _lock(self, environment_id: str) -> trio.Lock:
        return self._locks.setdefault(environment_id, trio.Lock())


def used(experiments: Sequence[Experiment]) -> list[str]:
    """The environments of experiments, the last to be used first. Those ascend by number."""
    named = (each.environment_id for each in reversed(experiments) if each.environment_id)
    return list(dict.fromkeys(named))


def _ignore_steps(steps: BuildSteps) -> None:
    """The steps of an environment are seen in the log alone."""
