"""Makes one runtime: its interpreter, if this machine does not have it, and its packages.

The packages are installed as a build installs them: a build of a project that has nothing but a
requirements file, without a model. So they come from the same indexes, by the same program, with
the same limits, as a process without rights.

A runtime that was not ready when the gateway ended is made from the start.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec
import trio

import builder
import store
from builder import BuildSpec, EnvironmentStore, Interpreter, Seeds, UnknownKernel
from gateway.control import failures
from gateway.control.interpreters import Interpreters
from gateway.control.operation import Operation
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import Sandbox
from gateway.data_folder import DataFolder
from store import Failure, Runtime
from workers import Log
from workers.confinement import HOME

logger = logging.getLogger(__name__)

REQUIREMENTS = "requirements.txt"
_SCRIPT = f"set -e\nif [ -s {REQUIREMENTS} ]; then pip3 install -r {REQUIREMENTS}; fi\n"


class RuntimeRunner(Protocol):
    """Runs the programs that make a runtime. `folders` are what they fill."""

    def for_runtime(self, runtime: Runtime, *folders: Path) -> builder.Run: ...


class RuntimeServices(msgspec.Struct, frozen=True, kw_only=True):
    """What each runtime task works with. `made` has the environments of the runtimes."""

    writer: RetryingWriter
    data: DataFolder
    made: EnvironmentStore
    interpreters: Interpreters
    runner: RuntimeRunner
    seeds: Seeds
    sandbox: Sandbox
    settings: RuntimeSettings


class RuntimeTask:
    """Makes one runtime. `failure` says why it could not be made."""

    def __init__(self, services: RuntimeServices, turn: trio.Lock, runtime: Runtime) -> None:
        self.runtime = runtime
        self.operation = Operation()
        self.log = Log(services.data.runtime_log(runtime.id))
        self.failure: Failure | None = None
        self._services = services
        self._turn = turn

    async def run(self) -> None:
        """Makes the runtime. Its row and its log say how that ended."""
        with self.operation.lifetime():
            try:
                with self.operation.cancellable():
                    await self._make()
            except (builder.BuilderError, OSError) as error:
                self.failure = failures.build_error("ENVIRONMENT", error)
            except TimeoutError:
                self.failure = failures.build_error("ENVIRONMENT", OSError("it took too long"))
            finally:
                if self.failure is not None:
                    text = f"{self.failure.summary}: {self.failure.problem}\n{self.failure.advice}"
                    self.log.write(text, "stderr")
                self.log.close()
            if not self.operation.cancelled:
                await self._record()

    async def _record(self) -> None:
        if self.runtime.status != "building":
            return  # it was ready before, and its folder was lost
        event, changes = "made", {}
        if self.failure is not None:
            event, changes = "failed", {"failure": self.failure}
        self.runtime = await self._services.writer.write_until_accepted(
            store.runtimes.advance, self.runtime.id, event, **changes
        )

    async def _make(self) -> None:
        services, environment = self._services, self._services.made.folder(self.runtime.id)
        await services.made.remove(self.runtime.id)
        # The requirements, which nothing needs afterwards.
        requirements = f"{self.runtime.id}.build"
        await services.made.remove(requirements)
        async with self._turn:
            interpreter = await self._interpreter()
            try:
                report = await builder.make_build(
                    await self._spec(interpreter, services.made.folder(requirements), environment),
                    services.made,
                    run=services.runner.for_runtime(
                        *(self.runtime, services.made.folder(requirements), environment),
                        services.data.pip_cache(self.runtime.id),
                    ),
                    seeds=services.seeds,
                    probe=None,
                    log=self.log,
                    changed=lambda _: None,
                )
            finally:
                with trio.CancelScope(shield=True):
                    await services.made.remove(requirements)
        if report.failure is not None:
            self.failure = failures.of_report(report.failure)

    async def _interpreter(self) -> Interpreter:
        """The runtime's interpreter, which is downloaded if this machine does not have it."""
        services, kernel = self._services, self.runtime.interpreter
        try:
            return builder.match(kernel, await services.interpreters.all())
        except UnknownKernel:
            version = builder.version_in(kernel)
        self.log.write(f"This machine has no Python {version}: downloading it")
        settings = services.settings.current
        await builder.download_interpreter(
            version,
            services.data.interpreters,
            run=services.runner.for_runtime(self.runtime, services.data.interpreters),
            log=self.log,
            mirror=settings.environment.get(builder.MIRROR, ""),
            time_limit=settings.build_timeout,
        )
        return builder.match(kernel, await services.interpreters.rediscover())

    async def _spec(self, interpreter: Interpreter, folder: Path, environment: Path) -> BuildSpec:
        services, settings = self._services, self._services.settings.current
        with TemporaryDirectory(dir=services.data.temporary_files) as project:
            await trio.to_thread.run_sync(_write_project, Path(project), self.runtime)
            snapshot = await builder.take_snapshot(
                Path(project),
                services.data.runtime_snapshots,
                self.runtime.id,
                self.log,
                run=services.runner.for_runtime(self.runtime),
            )
        return BuildSpec(
            project=self.runtime.id,
            snapshot=snapshot,
            folder=folder,
            environment=environment,
            home=HOME,
            interpreter=interpreter.path,
            variables=settings.environment,
            fresh=True,  # its environment is found by its id
            time_limit=settings.build_timeout,
            pip_cache=services.data.pip_cache(self.runtime.id),
            file_store=services.sandbox.file_store(services.data.shared_files, self.runtime.id),
        )


def _write_project(folder: Path, runtime: Runtime) -> None:
    (folder / REQUIREMENTS).write_text(runtime.requirements, "utf-8")
    (folder / builder.DEFAULT_SCRIPT).write_text(_SCRIPT, "utf-8")
