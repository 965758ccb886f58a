"""Executes the steps of a build, be it of a model or the environment of experiments.

What is built comes from the request and its project; where it is built, with what interpreter and
variables, from the gateway.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

import builder
import store
from builder import (
    DEFAULT_SCRIPT,
    SNAPSHOT_TAKEN,
    BuildReport,
    BuildSpec,
    BuildSteps,
    BuildStore,
    Seeds,
)
from gateway.control.builds.build_runner import BuildRunner
from gateway.control.builds.bytecode import BytecodeCompiler
from gateway.control.builds.snapshots import BuildLog, Snapshots
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.runtimes.catalogue import RuntimeCatalogue, RuntimeChoice
from gateway.control.runtimes.runtimes import Runtimes
from gateway.control.sandbox import Sandbox
from gateway.control.variables import ProcessVariables
from gateway.data_folder import DataFolder
from store import Project
from workers import Network


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`id` names the folder in the build store. Without a `file` there is no model in it. `lock` is
    what a rebuild has to obey."""

    id: str
    snapshot: str
    interpreter: str
    file: str = ""
    function: str = ""
    model_root: str = ""
    script: str = DEFAULT_SCRIPT
    network: Network = "machine"
    fresh: bool = False
    lock: str = ""


class BuildExecutor:
    """Turns requests into sealed folders of the build store."""

    def __init__(
        self,
        *,
        runner: BuildRunner,
        seeds: Seeds,
        bytecode: BytecodeCompiler,
        snapshots: Snapshots,
        catalogue: RuntimeCatalogue,
        runtimes: Runtimes,
        build_store: BuildStore,
        data: DataFolder,
        sandbox: Sandbox,
        variables: ProcessVariables,
        settings: RuntimeSettings,
    ) -> None:
        self._runner = runner
        self._seeds = seeds
        self._bytecode = bytecode
        self._snapshots = snapshots
        self._catalogue = catalogue
        self._runtimes = runtimes
        self._build_store = build_store
        self._data = data
        self._sandbox = sandbox
        self._variables = variables
        self._settings = settings

    async def execute(
        self,
        project: Project,
        request: BuildRequest,
        log: BuildLog,
        *,
        probe: builder.Probe | None = None,
        changed: Callable[[BuildSteps], None] = lambda _: None,
        steps: BuildSteps = SNAPSHOT_TAKEN,
    ) -> BuildReport:
        """The folder of the request must be free. `changed` is called with each new step. Raises
        UnknownKernel and CannotDecrypt."""
        spec = await self._spec(project, request)
        report = await builder.make_build(
            spec,
            self._build_store.environments,
            run=await self._runner.for_build(project, spec, request.network),
            seeds=self._seeds,
            probe=probe,
            log=log,
            changed=changed,
            steps=steps,
        )
        with suppress(OSError):
            await trio.to_thread.run_sync(os.utime, spec.pip_cache)  # one that ages is garbage
        if report.outcome == "built":
            self._bytecode.start(project, spec)
        return report

    async def _python_beside(self, choice: RuntimeChoice) -> Path | None:
        """The Python of an environment of R."""
        if choice.interpreter.language == "python":
            return None
        return (await self._catalogue.bare_of("python")).interpreter.path

    async def _spec(self, project: Project, request: BuildRequest) -> BuildSpec:
        choice = await self._catalogue.find(request.interpreter)
        return BuildSpec(
            project=project.id,
            snapshot=self._snapshots.find(project.id, request.snapshot),
            folder=self._build_store.folder(request.id),
            environment=self._build_store.environments.folder(store.new_id()),
            home=self._sandbox.home_of(request.id),
            interpreter=choice.interpreter.path,
            python=await self._python_beside(choice),
            base=await self._runtimes.base(choice),
            file=request.file,
            function=request.function,
            model_root=request.model_root,
            script=request.script,
            network=request.network,
            variables=self._variables.of_build(project, request.id),
            variables_id=self._variables.id_of_build_variables(project),
            fresh=request.fresh,
            lock=request.lock,
            time_limit=self._settings.current.build_timeout,
            pip_cache=self._data.pip_cache(project.id),
            file_store=self._sandbox.file_store(self._data.shared_files, project.id),
        )
