"""Builds: taken on, found, waited for, and taken away. How one is made is in build_task.py.

What an earlier gateway left half-made is marked so at boot; what still waited goes on. A build
whose folder is gone, as after a restore, or that names a home which is not there
(`sandbox.py`), is made again when it is to be served.
"""

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

import builder
import store
from builder import drop_snapshot, match
from gateway.control.builds.build_task import INTERRUPTED, BuildTask
from gateway.control.builds.rebuild_task import RebuildTask
from gateway.control.builds.vanished_interpreter import VanishedInterpreters
from gateway.control.context import ControlContext
from gateway.control.fair_semaphore import Backlog, FairSemaphore
from gateway.errors import Refusal
from store import Build, Model, Project, User
from workers import Log, Network
from workers.confinement import HOME

logger = logging.getLogger(__name__)


class NewBuild(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `example` is JSON text."""

    file: str
    function: str
    kernel: str = ""
    comment: str = ""
    example: str | None = None
    model_root: str = ""
    script: str = builder.DEFAULT_SCRIPT
    network: Network = "machine"


class Builds:
    """All builds of all models."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self.semaphore = FairSemaphore(context.settings.concurrent_builds)
        context.runtime_settings.subscribe(lambda now: self.semaphore.resize(now.concurrent_builds))
        self._tasks: dict[str, BuildTask] = {}
        self._line = Backlog("builds")
        # Held from a look at a build until it is being made again: else two would make it.
        self._looking = trio.Lock()
        self.vanished = VanishedInterpreters(context)

    async def recover(self) -> None:
        """Puts right what an earlier gateway left, and goes on with what waited."""
        database, set_aside = self._context.database, self._context.set_aside
        unfinished = await database.read(store.builds.unfinished)
        for build in unfinished:
            if build.status == "building":
                with set_aside.item(
                    f"build {build.id}", self._context.build_store.folder(build.id)
                ):
                    await self._context.writer.write_or_retry_later(
                        store.builds.advance, build.id, "interrupted", failure=INTERRUPTED
                    )
        built = [
            build.id
            for model in await database.read(store.models.listing)
            for build in await database.read(store.builds.listing, model.id)
            if build.status == "built"
        ]
        for build_id in built:
            if self._context.build_store.sealed(build_id) is None:
                logger.error("build %s lost its folder or seal: made anew when wanted", build_id)
        for build in unfinished:
            if build.status != "building":
                self._begin(BuildTask(self._context, build))

    async def create(self, model: Model, asked: NewBuild, creator: User) -> Build:
        """Takes on a build and its snapshot. Raises UnknownKernel or Refusal; see `check`."""
        project = await self._context.database.read(store.projects.get, model.project_id)
        await self.check(project, asked)
        if project.creation_status != "success":
            raise Refusal(
                "state.conflict", f"the creation of project {project.name!r} is not a success yet"
            )
        with self._line.joining(project.id, await self._unended(project)):
            asked_for = Build(
                model_id=model.id, creator=creator.name, **msgspec.structs.asdict(asked)
            )
            build = await self._context.database.write(store.builds.insert, asked_for)
            making = self._begin(BuildTask(self._context, build))
        await making.settled.wait()
        return making.build

    async def check(self, project: Project, asked: NewBuild) -> None:
        """Raises what `create` would: UnknownKernel, or Refusal for a path outside the project or
        want of room."""
        match(asked.kernel, await self._context.interpreters.all())
        _check_paths(asked)
        self._context.sandbox.check_network(asked.network)
        self._line.check(project.id, await self._unended(project))
        await self._context.disk.check_free("a build")
        await self._context.project_usage.admit(project, "a build")

    async def _unended(self, project: Project) -> int:
        """How many of its builds are on their way, counted last."""
        models = await self._context.database.read(store.models.listing, project.id)
        ids = {model.id for model in models}
        return sum(1 for each in self._tasks.values() if each.build.model_id in ids)

    def _begin(self, making: BuildTask) -> BuildTask:
        self._tasks[making.build.id] = making
        self._context.tasks.start(self._make, making)
        return making

    async def _make(self, making: BuildTask) -> None:
        try:
            # Its row is gone: who deleted it frees what there is, once the making has ended.
            with suppress(store.NotFound):
                await making.run(self.semaphore)
        finally:
            del self._tasks[making.build.id]
        with suppress(store.NotFound):
            model = await self._context.database.read(store.models.get, making.build.model_id)
            project = await self._context.database.read(store.projects.get, model.project_id)
            folder = self._context.build_store.folder(making.build.id)
            await self._context.project_usage.look(project, folder)

    async def wait(self, build_id: str) -> Build:
        """The build at its end. Raises NotFound."""
        if (making := self._tasks.get(build_id)) is not None:
            await making.done.wait()
        return await self._context.database.read(store.builds.get, build_id)

    def is_sealed_here(self, build_id: str) -> bool:
        """Whether it stands on the shelf, sealed, and works at this level without a look at it."""
        manifest = self._context.build_store.sealed(build_id)
        if manifest is None or self.vanished.why(build_id, manifest):
            return False
        return not self._context.sandbox.may_name_missing_home(manifest)

    async def _why_rebuild(self, build_id: str) -> str:
        """Why it has to be made again; "" if it need not be."""
        manifest = self._context.build_store.sealed(build_id)
        if manifest is None:
            return "the folder of this build is gone"
        if why := self.vanished.why(build_id, manifest):
            return why
        if named := await self._context.sandbox.file_naming_missing_home(build_id):
            level = self._context.workers.confinement.level
            return f"{named} names {HOME}, which is not there with isolation {level!r}"
        return ""

    async def built_or_rebuilt(self, build_id: str) -> Build:
        """The build at its end, made again if its folder is gone, or names a home that is not
        there. Raises NotFound, InterpreterGone.

        If that fails, what is returned says so and its row does not: it can be tried again.
        """
        making = self._tasks.get(build_id)
        if not isinstance(making, RebuildTask):
            build = await self.wait(build_id)
            if build.status != "built" or self.is_sealed_here(build_id):
                return build
            async with self._looking:
                if not (why := await self._why_rebuild(build_id)):
                    return build
                making = self._tasks.get(build_id)
                making = making or self._begin(RebuildTask(self._context, build, why))
        await making.done.wait()
        if making.build.status == "built":
            self.vanished.made_again(build_id)
        else:
            await self.vanished.check(making.build)
        return making.build

    def log(self, build_id: str) -> Log:
        """What it printed: growing while it is made, closed afterwards."""
        if (making := self._tasks.get(build_id)) is not None:
            return making.log
        log = Log(self._context.data.build_log(build_id))
        log.close()
        return log

    def with_live_status(self, build: Build) -> Build:
        """With the status and the steps that it has now, also while it is made anew."""
        making = self._tasks.get(build.id)
        if making is None:
            return build
        return msgspec.structs.replace(making.build, journey=making.steps)

    async def delete(self, project_id: str, build: Build) -> None:
        """Ends it if need be and frees what it takes. Raises BuildInUse for a deployed one."""
        await self._context.database.write(store.builds.delete, build.id)
        await self.resume_removals(project_id, build.id)

    async def resume_removals(self, project_id: str, build_id: str) -> None:
        """Ends the making and removes the files of a build whose row is gone."""
        if (making := self._tasks.get(build_id)) is not None:
            await making.cancel()
        await self._context.removal_queue.remove(partial(self._remove, project_id, build_id))

    async def _remove(self, project_id: str, build_id: str) -> None:
        await self._context.build_store.remove(build_id)
        await self._context.disk.ensure_minimum_free()
        async with self._context.snapshot_slots.acquire(project_id):
            await drop_snapshot(self._context.data.snapshots(project_id), build_id)
        await trio.to_thread.run_sync(self.log(build_id).remove)


def _check_paths(asked: NewBuild) -> None:
    """What can be refused at once; what the snapshot holds the build will see."""
    for what, path in (
        ("file_path", asked.file),
        ("model_root_dir", asked.model_root),
        ("build_script_path", asked.script),
    ):
        if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
            raise Refusal("path.refused", f"{what}: {path!r} is not inside the project")
    if not asked.file:
        raise Refusal("argument.invalid", "file_path: name the file that has the function")
    if not asked.function.isidentifier():
        raise Refusal("argument.invalid", f"function_name: {asked.function!r} is no function name")
