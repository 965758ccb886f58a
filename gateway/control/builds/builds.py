"""Builds: created, found, waited for, rebuilt, deleted. How one is made is in build_task.py.

At the start, a build that was being made when the last gateway ended has failed; one that waited
continues to wait. A build whose files or environment are gone, as after a restore, or that names a
home that does not exist here (`sandbox.py`), is rebuilt when it is to be served.
"""

import logging
from contextlib import suppress
from functools import partial

import msgspec
import trio

import builder
import store
from gateway.background import Tasks
from gateway.control import failures
from gateway.control.admission import Admission
from gateway.control.backlog import Backlog
from gateway.control.builds.build_task import BuildServices, BuildTask
from gateway.control.builds.project_checks import Checked, check_paths
from gateway.control.builds.used_builds import UsedBuilds
from gateway.control.builds.vanished_interpreter import VanishedInterpreters
from gateway.control.disk.build_sizes import BuildSizes
from gateway.control.disk.removal_queue import RemovalQueue
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.operation import Operations, ended_log
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import Sandbox
from gateway.errors import Refusal
from gateway.set_aside import SetAside
from store import Build, Deployment, Model, Project, Step, User
from workers import Log, Network, Pool
from workers.confinement import HOME

logger = logging.getLogger(__name__)


class NewBuild(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `example` and `example_output` are JSON texts."""

    file: str
    function: str
    kernel: str = ""
    comment: str = ""
    example: str | None = None
    example_output: str | None = None
    model_root: str = ""
    script: str = builder.DEFAULT_SCRIPT
    network: Network = "machine"
    fresh: bool = False


class Builds:
    """All builds of all models."""

    def __init__(
        self,
        services: BuildServices,
        *,
        settings: RuntimeSettings,
        tasks: Tasks,
        sandbox: Sandbox,
        admission: Admission,
        removal_queue: RemovalQueue,
        set_aside: SetAside,
    ) -> None:
        self._services = services
        self.checks = services.checks
        self._sandbox = sandbox
        self._admission = admission
        self._removal_queue = removal_queue
        self._set_aside = set_aside
        self.semaphore = FairSemaphore(settings.current.max_concurrent_builds)
        settings.subscribe(lambda now: self.semaphore.resize(now.max_concurrent_builds))
        self._operations: Operations[BuildTask] = Operations(tasks)
        self._backlog = Backlog("builds")
        self.used = UsedBuilds()
        self._sizes = BuildSizes(services.database, services.build_store)
        # Held from the check of a build until its rebuild has begun: else two tasks would rebuild
        # it.
        self._rebuild_lock = trio.Lock()
        self._vanished = VanishedInterpreters(
            database=services.database,
            build_store=services.build_store,
            interpreters=services.interpreters,
            catalogue=services.catalogue,
            check_pause=services.timeouts.interpreter_check,
        )

    async def recover(self) -> None:
        """Ends the builds that the last gateway was making, and continues those that waited."""
        database, build_store = self._services.database, self._services.build_store
        unfinished = await database.read(store.builds.unfinished)
        for build in unfinished:
            if build.status == "building":
                with self._set_aside.item(f"build {build.id}", build_store.folder(build.id)):
                    await self._services.writer.write_or_retry_later(
                        store.builds.advance,
                        build.id,
                        "interrupted",
                        failure=failures.BUILD_INTERRUPTED,
                    )
        built = [
            build.id
            for model in await database.read(store.models.list_all)
            for build in await database.read(store.builds.list_all, model.id)
            if build.status == "built"
        ]
        for build_id in built:
            if build_store.sealed(build_id) is None:
                logger.error("build.unsealed id=%s", build_id)
        for build in unfinished:
            if build.status != "building":
                self._start(build)

    async def create(
        self, model: Model, asked: NewBuild, creator: User, checked: Checked | None = None
    ) -> Build:
        """Creates a build and takes its snapshot, which may be taken and `checked` already. Raises
        UnknownKernel or Refusal; see `check`."""
        project = await self._services.database.read(store.projects.get, model.project_id)
        await self.check(project, asked)
        with self._backlog.joining(project.id, await self._unended(project)):
            asked_for = Build(
                model_id=model.id, creator=creator.name, **msgspec.structs.asdict(asked)
            )
            build = await self._services.database.write(store.builds.insert, asked_for)
            task = self._start(build, checked=checked)
        await task.operation.milestone.wait()
        return task.build

    async def check(self, project: Project, asked: NewBuild) -> None:
        """Raises what `create` would: UnknownKernel, or Refusal for a project that is not created
        yet, a path outside of it, a full backlog or a full disk."""
        if project.creation_status != "success":
            raise Refusal(
                "state.conflict",
                f"project {project.name!r} is still being created (or failed to be)",
            )
        await self._services.catalogue.choose(asked.kernel, project, asked.file)
        check_paths(asked)
        self._sandbox.check_network(asked.network)
        self._backlog.check(project.id, await self._unended(project))
        await self._admission.check(project, "a build")

    async def _unended(self, project: Project) -> int:
        """How many builds of the project have not ended. They are counted last."""
        models = await self._services.database.read(store.models.list_all, project.id)
        ids = {model.id for model in models}
        return sum(1 for each in self._operations if each.build.model_id in ids)

    def _start(
        self, build: Build, rebuild_reason: str = "", checked: Checked | None = None
    ) -> BuildTask:
        task = BuildTask(self._services, self.semaphore, build, rebuild_reason, checked)
        return self._operations.start(build.id, task, self._measure_size)

    async def _measure_size(self, task: BuildTask) -> None:
        with suppress(store.NotFound):
            model = await self._services.database.read(store.models.get, task.build.model_id)
            project = await self._services.database.read(store.projects.get, model.project_id)
            await self._services.environments.prune(project.id)
            folder = self._services.build_store.folder(task.build.id)
            await self._admission.measure(project, folder)
            await self._sizes.record(task.build.id)

    async def wait(self, build_id: str) -> Build:
        """The build at its end. Raises NotFound."""
        await self._operations.wait_ended(build_id)
        return await self._services.database.read(store.builds.get, build_id)

    def is_sealed_here(self, build_id: str) -> bool:
        """Whether the build is in the build store, sealed, and known to work at the present level
        of isolation without a look at its files."""
        manifest = self._services.build_store.sealed(build_id)
        if manifest is None or self._vanished.why(build_id, manifest):
            return False
        return not self._sandbox.may_name_missing_home(manifest)

    async def _why_rebuild(self, build_id: str) -> str:
        """Why the build has to be rebuilt; "" if it has not."""
        manifest = self._services.build_store.sealed(build_id)
        if manifest is None:
            return "the files of this build or its environment are gone"
        if why := self._vanished.why(build_id, manifest):
            return why
        if named := await self._sandbox.file_naming_missing_home(build_id):
            level = self._services.workers.confinement.level
            return f"{named} names {HOME}, which does not exist with isolation {level!r}"
        return ""

    async def built_or_rebuilt(self, build_id: str) -> Build:
        """The build at its end, rebuilt if it cannot be served as it is. Raises NotFound,
        InterpreterGone.

        If a rebuild fails, the result says so and the row does not: it can be tried again.
        """
        task = self._operations.get(build_id)
        if task is None or not task.is_rebuild:
            build = await self.wait(build_id)
            if build.status != "built" or self.is_sealed_here(build_id):
                return build
            async with self._rebuild_lock:
                if not (why := await self._why_rebuild(build_id)):
                    return build
                task = self._operations.get(build_id) or self._start(build, why)
        await task.operation.ended.wait()
        if task.build.status == "built":
            self._vanished.rebuilt(build_id)
        else:
            await self._vanished.check(task.build)
        return task.build

    async def watch_interpreter(self, deployment: Deployment, pool: Pool) -> bool:
        """See `VanishedInterpreters.until_closed`."""
        return await self._vanished.until_closed(deployment, pool)

    def log(self, build_id: str) -> Log:
        """The build's log, closed once the build has ended."""
        task = self._operations.get(build_id)
        return task.log if task else ended_log(self._services.data.build_log(build_id))

    def with_live_status(self, build: Build) -> Build:
        """The build with its present status and steps, also while it is rebuilt."""
        task = self._operations.get(build.id)
        return msgspec.structs.replace(task.build, steps=task.steps) if task else build

    def interrupted_steps(self, build: Build) -> list[Step]:
        """The steps of a build as they are if it ends now: the one that runs has failed."""
        task = self._operations.get(build.id)
        return task.interrupted_steps if task else build.steps

    async def end_cancelled(self, build: Build) -> None:
        """Ends a build whose row says that it was cancelled. Returns when nothing of it runs and
        its files are removed."""
        if (task := self._operations.get(build.id)) is not None:
            await task.cancel(build)

    async def delete(self, project_id: str, build: Build) -> None:
        """Deletes the build, cancelled first if it has not ended. Raises BuildInUse, or Refusal
        where a session runs in it."""
        self.used.check(build)
        await self._services.database.write(store.builds.delete, build.id)
        await self.resume_removals(project_id, build.id)

    async def resume_removals(self, project_id: str, build_id: str) -> None:
        """Cancels a build whose row is deleted, and removes its files."""
        if (task := self._operations.get(build_id)) is not None:
            await task.operation.cancel_and_wait()
        await self._removal_queue.remove(partial(self._remove, project_id, build_id))

    async def _remove(self, project_id: str, build_id: str) -> None:
        await self._services.build_store.remove(build_id)
        await self._admission.prepare_removal()
        await self._services.snapshots.drop(project_id, build_id)
        await trio.to_thread.run_sync(self.log(build_id).remove)
