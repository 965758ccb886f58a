"""Makes one build: runs the steps from a snapshot to a sealed folder.

A failure of the project, the request or the machine is a report, never an exception. A build leaves
a sealed folder or none. The seal is made last, so no later step can fail.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from typing import Literal

import trio
from msgspec import Struct

from builder import build_steps
from builder.build_steps import SNAPSHOT_TAKEN, BuildSteps, now
from builder.build_store import Manifest
from builder.concurrently import run_all
from builder.environment.seeds import Seeds
from builder.environment_maker import EnvironmentMaker
from builder.errors import BuilderError
from builder.file_store.shared_seal import SharedSeal
from builder.interpreters import Interpreter, inspect
from builder.lock.pylock import LockText
from builder.reuse.environment_store import EnvironmentStore
from builder.safe_paths import check_model_file, check_model_path
from builder.sealed_folders import remove_sealed
from builder.snapshot import missing_content
from builder.spec import BuildSpec, Log, Probe, Run


class BuildFailure(Struct, frozen=True):
    """Why a build failed: the step, what failed, what was found, and what to do."""

    step: str
    summary: str
    problem: str
    advice: str


class BuildReport(Struct, frozen=True, kw_only=True):
    """How a build ended. `lock` is that of the environment."""

    outcome: Literal["built", "failed", "timed_out"]
    failure: BuildFailure | None
    steps: BuildSteps
    lock: LockText | None = None


async def build(
    spec: BuildSpec,
    environments: EnvironmentStore,
    *,
    run: Run,
    seeds: Seeds,
    probe: Probe | None,
    log: Log,
    changed: Callable[[BuildSteps], None],
    steps: BuildSteps = SNAPSHOT_TAKEN,
) -> BuildReport:
    """Make the build at `spec.folder` and its environment at `spec.environment`, which must not
    exist, or with an environment that was made before. Without a `probe` it has no model to start.

    `steps` are the steps so far, including the snapshot; `changed` is called after each event.
    Cancellation leaves no folder.
    """
    _refuse_existing(spec)
    maker = _Build(spec, environments, run, seeds, probe, log, _Progress(steps, changed))
    whole = False
    try:
        with trio.move_on_after(spec.time_limit):
            await maker.make()
            whole = True
        return maker.report("built", None) if whole else maker.timed_out()
    except BuilderError as error:
        return maker.failed(error.summary, error.problem, error.advice)
    except TimeoutError:
        return maker.timed_out()
    except OSError as error:
        return maker.failed(
            "The build failed because of the machine",
            str(error),
            "Ask the operator to run `predictd doctor`, which checks disk and programs.",
        )
    finally:
        if not whole:
            with trio.CancelScope(shield=True):
                await remove_sealed(spec.folder)
                # A new environment that was sealed is for the next build.
                if environments.sealed(spec.environment.name) is None:
                    await remove_sealed(spec.environment)


def _refuse_existing(spec: BuildSpec) -> None:
    # This build must not remove an existing folder when it fails.
    for folder in (spec.folder, spec.environment):
        if folder.exists():
            raise FileExistsError(f"{folder} already exists")


class _Progress:
    """The steps so far, and the listener for changes."""

    def __init__(self, steps: BuildSteps, changed: Callable[[BuildSteps], None]) -> None:
        self.steps = steps
        self.here = build_steps.SNAPSHOT
        self._changed = changed

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step and report how it ended."""
        self.here = name
        began = trio.current_time()
        self._go(self.steps.start(name, now()))
        try:
            yield
        except BaseException:
            self._go(self.steps.fail(name, trio.current_time() - began))
            raise
        if self.steps[name].state == "running":
            self._go(self.steps.finish(name, trio.current_time() - began))

    def skip(self) -> None:
        """Skip the present step, which has nothing to do."""
        self._go(self.steps.skip(self.here))

    def _go(self, steps: BuildSteps) -> None:
        self.steps = steps
        self._changed(steps)


class _Build:
    """The steps of one build."""

    def __init__(
        self,
        spec: BuildSpec,
        environments: EnvironmentStore,
        run: Run,
        seeds: Seeds,
        probe: Probe | None,
        log: Log,
        progress: _Progress,
    ) -> None:
        self._spec = spec
        self._environments = environments
        self._run = run
        self._seeds = seeds
        self._probe = probe
        self._log = log
        self._progress = progress
        self._started_at = now()
        self._lock: LockText | None = None
        self._conditions = ""
        self._deadline = trio.current_time() + spec.time_limit

    async def make(self) -> None:
        with ExitStack() as kept:
            kept.enter_context(self._environments.in_use(self._spec.environment.name))
            async with AsyncExitStack() as locked:
                interpreter, sealing = await self._environment(kept, locked)
                with self._progress.step(build_steps.PROBE):
                    await self._try_out_while(sealing, interpreter)
            with self._progress.step(build_steps.SEAL):
                await self._seal(interpreter)

    async def _environment(
        self, kept: ExitStack, locked: AsyncExitStack
    ) -> tuple[Interpreter, list[Callable[[], Awaitable[object]]]]:
        """Find or make the environment, which is in use while `kept` is open. Return what seals a
        new one, while `locked` is open."""
        with self._progress.step(build_steps.ENVIRONMENT):
            interpreter = python = await inspect(self._spec.interpreter)
            if self._spec.python is not None:
                python = await inspect(self._spec.python)
            maker = self._maker(interpreter, python)
            await self._prepare(maker, interpreter)
            await locked.enter_async_context(self._environments.locked(maker.equals))
            found = not self._spec.fresh and await maker.find(kept)
            if not (found or maker.refused):
                await maker.make(kept)
        with self._progress.step(build_steps.BUILD_SCRIPT):
            if maker.refused:
                raise maker.refused
            if found or not await maker.run_script():
                self._progress.skip()
            if found:
                await locked.aclose()
            else:
                await maker.record()
                shared = SharedSeal(maker.spec.virtualenv, maker.spec.file_store)
                await shared.link_libraries()
        self._spec, self._lock = maker.spec, maker.lock
        return interpreter, [] if found else [partial(maker.seal, shared)]

    def _maker(self, interpreter: Interpreter, python: Interpreter) -> EnvironmentMaker:
        return EnvironmentMaker(
            *(self._spec, interpreter, python, self._environments),
            seeds=self._seeds,
            run=self._run,
            log=self._log,
            time_left=self._time_left,
        )

    async def _prepare(self, maker: EnvironmentMaker, interpreter: Interpreter) -> None:
        spec = self._spec
        spec.folder.mkdir(parents=True)
        spec.tmp.mkdir()
        await maker.prepare()
        if self._probe is not None:
            check_model_path(spec, interpreter.language)
        for notice in await trio.to_thread.run_sync(
            lambda: list(missing_content.notices(spec.code))
        ):
            self._log.write(notice)

    async def _try_out_while(
        self, sealing: list[Callable[[], Awaitable[object]]], interpreter: Interpreter
    ) -> None:
        """Try the model out while its environment is sealed, which a failure does not end."""
        failures: list[BuilderError] = []

        async def try_out() -> None:
            try:
                await self._try_out(interpreter)
            except BuilderError as error:
                failures.append(error)

        await run_all(try_out, *sealing)
        for failure in failures:
            raise failure

    async def _try_out(self, interpreter: Interpreter) -> None:
        if self._probe is None:
            self._progress.skip()
            return
        check_model_file(self._spec)
        probed = await self._probe(self._spec, interpreter)
        self._conditions = probed.conditions
        if probed.same_as:
            self._log.write(f"The test of the model is skipped: same as {probed.same_as}")
            self._progress.skip()

    async def _seal(self, interpreter: Interpreter) -> None:
        spec = self._spec
        await remove_sealed(spec.tmp)
        manifest = Manifest(
            commit=spec.snapshot.commit,
            file=spec.file,
            function=spec.function,
            model_root=spec.model_root,
            script=spec.script,
            environment=spec.environment.name,
            interpreter=str(interpreter.path),
            prefix=str(interpreter.prefix),
            home=str(spec.home),
            version=interpreter.version,
            language=interpreter.language,
            probed=self._conditions,
            started_at=self._started_at,
            sealed_at=now(),
        )
        await SharedSeal(spec.code, spec.file_store).seal(spec.folder, manifest)

    def _time_left(self) -> float:
        return self._deadline - trio.current_time()

    def failed(self, summary: str, problem: str, advice: str) -> BuildReport:
        # A name of a file may be no text, and a database takes text alone.
        texts = [
            each.encode("utf-8", "backslashreplace").decode() for each in (summary, problem, advice)
        ]
        return self.report("failed", BuildFailure(self._progress.here, *texts))

    def timed_out(self) -> BuildReport:
        here = self._progress.here
        return self.report(
            "timed_out",
            BuildFailure(
                here,
                "The build took too long",
                f"it reached its limit of {self._spec.time_limit:g} s in step {here}",
                "Make the build script do less, or ask the operator to raise `build_timeout`.",
            ),
        )

    def report(
        self, outcome: Literal["built", "failed", "timed_out"], failure: BuildFailure | None
    ) -> BuildReport:
        return BuildReport(
            outcome=outcome,
            failure=failure,
            steps=self._progress.steps,
            lock=self._lock if outcome == "built" else None,
        )
