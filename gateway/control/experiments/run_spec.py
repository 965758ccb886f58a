"""What the script of an experiment is run from: its files, variables and limits."""

from builder import BuildStore
from gateway.control import sandbox_uids
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.sandbox import Sandbox
from gateway.control.variables import ProcessVariables
from gateway.data_folder import ExperimentFolder
from store import Experiment, Project
from workers import ExperimentSpec
from workers.sizes import MIB


class RunSpecs:
    """Describes the runs of experiments."""

    def __init__(
        self,
        *,
        build_store: BuildStore,
        sandbox: Sandbox,
        variables: ProcessVariables,
        project_usage: ProjectUsage,
    ) -> None:
        self._build_store = build_store
        self._sandbox = sandbox
        self._variables = variables
        self._project_usage = project_usage

    async def describe(
        self,
        project: Project,
        experiment: Experiment,
        folder: ExperimentFolder,
        key: dict[str, str],
    ) -> ExperimentSpec:
        """`key` are the variables by which the script finds its key. Raises CannotDecrypt."""
        limits = self._sandbox.limits(experiment.memory_mb * MIB, experiment.cpu_millicores)
        return ExperimentSpec(
            code=self._build_store.code(experiment.environment_id),
            environment=self._build_store.virtualenv(experiment.environment_id),
            prefix=self._build_store.prefix(experiment.environment_id),
            built=self._sandbox.built_at(experiment.environment_id),
            script=experiment.script,
            arguments=tuple(experiment.arguments),
            folder=folder.folder,
            kept=folder.kept,
            variables=key | self._variables.of_experiment(project, experiment, folder),
            limits=await self._project_usage.within(project, limits),
            network=experiment.network,
            identity=sandbox_uids.of_experiment(experiment),
        )
