"""Compiles the packages of environments when their builds are done, one environment at a time."""

import logging

import msgspec
import trio

import builder
from builder import BuilderError, BuildSpec, BuildStore
from gateway.background import Tasks
from gateway.control.builds.build_runner import BuildRunner
from store import Project

logger = logging.getLogger(__name__)


class BytecodeCompiler:
    """Replicas that start meanwhile compile what they import, as before."""

    def __init__(self, *, runner: BuildRunner, build_store: BuildStore, tasks: Tasks) -> None:
        self._runner = runner
        self._build_store = build_store
        self._tasks = tasks
        self._lock = trio.Lock()

    def start(self, project: Project, spec: BuildSpec) -> None:
        """Compiles the environment of a finished build in the background, unless that is done: an
        earlier build may have made it, under a gateway that was killed."""
        name = self._build_store.environment_of(spec.folder.name)
        environment = self._build_store.environments.folder(name)
        if name and not builder.is_compiled(environment):
            spec = msgspec.structs.replace(spec, environment=environment)
            self._tasks.start(self._compile, project, spec)

    async def _compile(self, project: Project, spec: BuildSpec) -> None:
        environments = self._build_store.environments
        async with self._lock:
            name = spec.environment.name
            if environments.is_being_removed(name) or environments.sealed(name) is None:
                return
            with environments.in_use(name):
                try:
                    await builder.compile_environment(
                        spec.environment,
                        await builder.inspect(spec.python_program),
                        run=await self._runner.for_build(project, spec),
                        file_store=spec.file_store,
                    )
                except (BuilderError, OSError, TimeoutError) as error:
                    logger.warning("bytecode.failed environment=%s: %s", spec.environment, error)
