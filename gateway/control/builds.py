"""Builds: taken on, waiting in line, made, and taken away.

A build's snapshot is taken as soon as it is asked for, so that later edits of the project are not
in it; then it waits for one of the places in which builds are made. Its row follows: pending,
queued, building, and one of the ends. What an earlier gateway left half-made is marked so at boot;
what still waited goes on.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

import builder
import store
from builder import BuildSpec, Journey, Snapshot, drop_snapshot, match, take_snapshot
from gateway.control.house import House
from gateway.control.variables import build_variables, model_variables, slug
from gateway.errors import Refusal
from store import Build, Failure, Model, Project, Step
from workers import Log, PoolSpec, ProbeRaised, ReplicaSpec, StartFailed

logger = logging.getLogger(__name__)

# The stream of a build log's lines that tell of its steps.
JOURNEY = "journey"


class NewBuild(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `example` is JSON text."""

    file: str
    function: str
    kernel: str = ""
    comment: str = ""
    example: str | None = None
    model_root: str = ""
    script: str = builder.DEFAULT_SCRIPT


class _Live:
    """A build that is not at its end: what followers and waiters look at."""

    def __init__(self, log: Log, steps: list[Step]) -> None:
        self.log = log
        self.journey = _journey(steps) if steps else Journey()
        self.scope = trio.CancelScope()
        self.done = trio.Event()

    def travelled(self, journey: Journey) -> None:
        """A step has begun or ended: told in the log, so that its place among the lines is kept."""
        self.journey = journey
        self.log.write(msgspec.json.encode(journey.steps).decode(), JOURNEY)


class Builds:
    """All builds of all models."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._places = trio.Semaphore(house.settings.concurrent_builds)
        self._live: dict[str, _Live] = {}

    async def recover(self) -> None:
        """Puts right what an earlier gateway left, and goes on with what waited."""
        database = self._house.database
        unfinished = await database.read(store.builds.unfinished)
        for build in unfinished:
            if build.status == "building":
                await database.write(
                    store.builds.advance, build.id, "interrupted", failure=_INTERRUPTED
                )
        keep: list[str] = []
        for model in await database.read(store.models.listing):
            for build in await database.read(store.builds.listing, model.id):
                keep += [build.id] if build.status == "built" else []
        # Before any build goes on: its folder would be swept from under it.
        await self._house.shelf.sweep(keep)
        for build in unfinished:
            if build.status != "building":
                self._begin(build)

    async def create(self, model: Model, asked: NewBuild) -> Build:
        """Takes on a build. Raises UnknownKernel or Refusal; see `check`."""
        self.check(asked)
        project = await self._house.database.read(store.projects.get, model.project_id)
        if project.creation_status != "success":
            raise Refusal(
                "state.conflict", f"the creation of project {project.name!r} is not a success yet"
            )
        build = await self._house.database.write(
            store.builds.insert,
            Build(model_id=model.id, creator=self._house.user, **msgspec.structs.asdict(asked)),
        )
        self._begin(build)
        return build

    def check(self, asked: NewBuild) -> None:
        """Raises what `create` would: UnknownKernel, or Refusal for a path outside the project."""
        match(asked.kernel, self._house.interpreters)
        _check_paths(asked)

    async def wait(self, build_id: str) -> Build:
        """The build at its end."""
        if (live := self._live.get(build_id)) is not None:
            await live.done.wait()
        return await self._house.database.read(store.builds.get, build_id)

    def log(self, build_id: str) -> Log:
        """What it printed: growing while it is made, closed afterwards."""
        if (live := self._live.get(build_id)) is not None:
            return live.log
        log = Log(self._house.data.build_log(build_id))
        log.close()
        return log

    def journey(self, build: Build) -> list[Step]:
        """Its steps as they are now."""
        live = self._live.get(build.id)
        return _steps(live.journey) if live else build.journey

    async def delete(self, project_id: str, build: Build) -> None:
        """Ends it if need be and frees what it takes. Raises BuildInUse for a deployed one."""
        await self._house.database.write(store.builds.delete, build.id)
        await self.cancel(build.id)
        await self.free(project_id, build.id)

    async def cancel(self, build_id: str) -> None:
        """Ends the making of it, if it is being made; for those who delete it."""
        if (live := self._live.get(build_id)) is not None:
            live.scope.cancel()
            await live.done.wait()

    async def free(self, project_id: str, build_id: str) -> None:
        """Removes the files of a build whose row is gone."""
        await self._house.shelf.remove(build_id)
        await drop_snapshot(self._house.data.snapshots(project_id), build_id)
        await trio.to_thread.run_sync(self.log(build_id).remove)

    def spec_of_replica(
        self, build: Build, variables: dict[str, str], folder: Path | None = None
    ) -> ReplicaSpec:
        """How a replica of this build is started."""
        settings = self._house.settings
        folder = folder or self._house.shelf.folder(build.id)
        return ReplicaSpec(
            code=folder / "code",
            environment=folder / "environment",
            file=build.file,
            function=build.function,
            model_root=build.model_root,
            variables=variables,
            start_timeout=settings.model_start_timeout,
            reply_limit=settings.reply_limit,
        )

    # The making.

    def _begin(self, build: Build) -> None:
        log = Log(self._house.data.build_log(build.id))
        self._live[build.id] = live = _Live(log, build.journey)
        self._house.tasks.start(self._make, build, live)

    async def _make(self, build: Build, live: _Live) -> None:
        try:
            with live.scope:
                await self._travel(build, live)
        except store.NotFound:
            logger.info("build %s was deleted while it was made", build.id)
        except Exception as error:
            logger.exception("build %s", build.id)
            await self._fail(build, live, _failure_of("", error))
        finally:
            with trio.CancelScope(shield=True):
                await self._mark_if_unfinished(build)
            live.log.close()
            live.done.set()
            del self._live[build.id]

    async def _mark_if_unfinished(self, build: Build) -> None:
        """It was cancelled: by its deletion, or by the gateway's end. What waits may wait on."""
        with suppress(store.NotFound, store.IllegalTransition):  # deleted, or not begun
            await self._house.database.write(
                store.builds.advance, build.id, "interrupted", failure=_INTERRUPTED
            )

    async def _travel(self, build: Build, live: _Live) -> None:
        database = self._house.database
        model = await database.read(store.models.get, build.model_id)
        project = await database.read(store.projects.get, model.project_id)
        if build.status == "pending":
            snapshotted = await self._take_snapshot(build, project, live)
            if snapshotted is None:
                return
            build = snapshotted
        async with self._places:
            build = await database.write(store.builds.advance, build.id, "started")
            spec = self._spec(build, project)
            report = await builder.make_build(
                spec,
                run=self._house.workers.run,
                probe=_Probe(self, build, model, project, live.log),
                log=live.log,
                changed=live.travelled,
                journey=live.journey,
            )
        if report.failure is not None:
            failure = msgspec.convert(report.failure, Failure, from_attributes=True)
            await self._fail(build, live, failure, report.outcome)
        else:
            await database.write(
                store.builds.advance, build.id, "built", journey=_steps(report.journey)
            )

    async def _take_snapshot(self, build: Build, project: Project, live: _Live) -> Build | None:
        """The build with its snapshot, or None when that failed."""
        step, began = builder.SNAPSHOT, trio.current_time()
        live.travelled(live.journey.start(step, store.now()))
        live.log.write("Taking a snapshot of the project")
        git_store = self._house.data.snapshots(project.id)
        try:
            snapshot = await take_snapshot(Path(project.path), git_store, build.id, live.log)
        except (builder.BuilderError, OSError) as error:
            live.travelled(live.journey.fail(step, trio.current_time() - began))
            await self._fail(build, live, _failure_of(step, error))
            return None
        live.travelled(live.journey.finish(step, trio.current_time() - began))
        interpreter = match(build.kernel, self._house.interpreters)
        return await self._house.database.write(
            store.builds.advance,
            build.id,
            "snapshotted",
            snapshot=snapshot.commit,
            interpreter=interpreter.identifier,
            journey=_steps(live.journey),
        )

    async def _fail(
        self, build: Build, live: _Live, failure: Failure, event: str = "failed"
    ) -> None:
        live.log.write(f"{failure.summary}: {failure.problem}\n{failure.advice}", "stderr")
        await self._house.database.write(
            store.builds.advance, build.id, event, failure=failure, journey=_steps(live.journey)
        )

    def _spec(self, build: Build, project: Project) -> BuildSpec:
        house = self._house
        interpreter = match(build.interpreter, house.interpreters)
        return BuildSpec(
            snapshot=Snapshot(house.data.snapshots(project.id), build.snapshot),
            folder=house.shelf.folder(build.id),
            interpreter=interpreter.path,
            file=build.file,
            function=build.function,
            model_root=build.model_root,
            script=build.script,
            variables=build_variables(house.settings, house.domain, project, build),
            time_limit=house.settings.build_timeout,
            pip_cache=house.data.pip_cache(project.id),
        )

    async def try_out(self, build: Build, model: Model, project: Project, log: Log) -> None:
        """Starts one replica of a build that is not sealed yet, and asks it for the example."""
        house = self._house
        variables = model_variables(house.settings, house.domain, project, None)
        spec = PoolSpec(
            name=f"{slug(model.name)}-probe-{build.number}",
            replica=self.spec_of_replica(build, variables),
            log_folder=house.data.model_logs(model.id),
            request_timeout=house.settings.model_request_timeout,
            start_tries=1,
        )
        example = build.example.encode() if build.example is not None else None
        await house.workers.probe(spec, log, example)


class _Probe:
    """The builder's PROBE step, done by the workers."""

    def __init__(
        self, builds: Builds, build: Build, model: Model, project: Project, log: Log
    ) -> None:
        self._builds = builds
        self._facts = (build, model, project, log)

    async def __call__(self, spec: BuildSpec) -> None:
        try:
            await self._builds.try_out(*self._facts)
        except StartFailed as error:
            raise builder.ProbeFailed(
                "The model did not start",
                error.summary,
                "Run the file in the build's environment; its traceback is in the build log.",
            ) from error
        except ProbeRaised as error:
            raise builder.ProbeFailed(
                "The model did not answer its example input",
                str(error),
                "Correct the function or the example; the traceback is in the build log.",
            ) from error


_INTERRUPTED = Failure(
    step="",
    summary="The build was interrupted",
    problem="the gateway ended while the build was being made",
    advice="Build again.",
)


def _check_paths(asked: NewBuild) -> None:
    """What can be refused at once; what the snapshot holds the build will see."""
    for what, path in (
        ("file", asked.file),
        ("model_root_dir", asked.model_root),
        ("build_script_path", asked.script),
    ):
        parts = Path(path).parts
        if Path(path).is_absolute() or ".." in parts or "\0" in path:
            raise Refusal("path.refused", f"{what}: {path!r} is not inside the project")
    if not asked.file:
        raise Refusal("argument.invalid", "file_path: name the file that has the function")
    if not asked.function.isidentifier():
        raise Refusal("argument.invalid", f"function_name: {asked.function!r} is no function name")
    if asked.example is not None:
        json.loads(asked.example)


def _journey(steps: list[Step]) -> Journey:
    """The journey so far of a build that waited while the gateway was away."""
    return msgspec.convert({"steps": steps}, Journey, from_attributes=True)


def _steps(journey: Journey) -> list[Step]:
    return [msgspec.convert(s, Step, from_attributes=True) for s in journey.steps]


def _failure_of(step: str, error: Exception) -> Failure:
    match error:
        case builder.BuilderError(summary=summary, problem=problem, advice=advice):
            return Failure(step=step, summary=summary, problem=problem, advice=advice)
        case OSError():
            summary = "The project's files could not be read or stored"
            advice = "Make the files readable for predictd, and room on the disk of its data."
        case _:
            summary = "predictd failed the build"
            advice = "This is a mistake of predictd; its own log has the traceback."
    return Failure(step=step, summary=summary, problem=str(error), advice=advice)
