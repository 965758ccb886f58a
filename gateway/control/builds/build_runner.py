"""How the programs of a build are run, within the limits of builds: its script, virtualenv, git."""

from functools import partial
from pathlib import Path

import builder
from builder import BuildSpec
from gateway.control import sandbox_uids
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.resources import HostResources
from gateway.control.runtime_settings import RuntimeSettings
from store import Project, Runtime
from workers import Limits, Network, Workers

# In thousandths of a core: the kernel takes no quota that is much less.
_MIN_CPU = 100


class BuildRunner:
    """Runs programs for builds, and git for clones and snapshots."""

    def __init__(
        self,
        *,
        workers: Workers,
        settings: RuntimeSettings,
        resources: HostResources,
        project_usage: ProjectUsage,
    ) -> None:
        self._workers = workers
        self._settings = settings
        self._resources = resources
        self._project_usage = project_usage

    async def for_build(
        self, project: Project, spec: BuildSpec, network: Network = "machine"
    ) -> builder.Run:
        """Runs the programs of a build."""
        return partial(
            self._workers.run,
            identity=sandbox_uids.of_builds(project),
            limits=await self._project_usage.within(project, self._limits()),
            folders=(spec.folder, spec.environment, spec.pip_cache),
            network=network,
        )

    def for_runtime(self, runtime: Runtime, *folders: Path) -> builder.Run:
        """Runs the programs that make a runtime. `folders` are what they fill."""
        return partial(
            self._workers.run,
            identity=sandbox_uids.of_runtime(runtime),
            limits=self._limits(),
            folders=folders,
        )

    async def for_git(self, project: Project) -> builder.Run:
        """Runs git, to clone a project or to take a snapshot of it."""
        limits = await self._project_usage.within(project, self._limits())
        return partial(self._workers.run, identity=sandbox_uids.of_builds(project), limits=limits)

    async def for_seeds(
        self,
        command: list[str],
        *,
        cwd: Path,
        paths: builder.SandboxPaths | None = None,
        variables: dict[str, str],
        log: builder.Log,
        time_limit: float,
    ) -> int:
        """Runs what makes a seed, as a user that no project has; a `builder.Run`."""
        return await self._workers.run(
            command,
            cwd=cwd,
            paths=paths,
            variables=variables,
            log=log,
            time_limit=time_limit,
            identity=sandbox_uids.OF_SEEDS,
            limits=self._limits(),
        )

    def _limits(self) -> Limits:
        """Of one build, or of one clone."""
        settings, machine = self._settings.current, self._resources
        cores = settings.build_cpu or max(1, machine.cores / 2)
        return Limits(
            memory=settings.build_memory or machine.for_models // 2,
            cpu=max(_MIN_CPU, int(1000 * cores)),
            processes=settings.build_processes,
            disk=settings.build_disk,
        )
