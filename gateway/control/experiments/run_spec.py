"""What the script of an experiment is run from: its files, variables and limits."""

from builder import CACHES, BuildStore
from gateway.control import sandbox_uids
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import Sandbox
from gateway.control.variables import ProcessVariables
from gateway.data_folder import ExperimentFolder
from store import Experiment, Project
from workers import ExperimentSpec, Keep
from workers.sizes import MIB

# Folders whose files are not kept: git would run programs that its files name.
_LEFT_OUT = frozenset({".git", ".cache", *(name.decode() for name in CACHES)})

# What R's plots are written to where the script names no file.
_PLOTS = ("Rplot*.png", "Rplots.pdf")


class RunSpecs:
    """Describes the runs of experiments."""

    def __init__(
        self,
        *,
        build_store: BuildStore,
        sandbox: Sandbox,
        variables: ProcessVariables,
        project_usage: ProjectUsage,
        settings: RuntimeSettings,
    ) -> None:
        self._build_store = build_store
        self._sandbox = sandbox
        self._variables = variables
        self._project_usage = project_usage
        self._settings = settings

    async def describe(
        self,
        project: Project,
        experiment: Experiment,
        folder: ExperimentFolder,
        key: dict[str, str],
    ) -> ExperimentSpec:
        """`key` are the variables by which the script finds its key. Raises CannotDecrypt."""
        language = self._build_store.language(experiment.id)
        limits = self._sandbox.limits(experiment.memory_mb * MIB, experiment.cpu_millicores)
        return ExperimentSpec(
            code=self._build_store.code(experiment.id),
            environment=self._build_store.virtualenv(experiment.id),
            prefix=self._build_store.prefix(experiment.id),
            built=self._sandbox.built_at(experiment.id),
            language=language,
            script=experiment.script,
            arguments=tuple(experiment.arguments),
            folder=folder.folder,
            kept=folder.kept,
            keep=Keep(
                folder=folder.outputs,
                patterns=(*experiment.keep, *(_PLOTS if language == "r" else ())),
                most_files=self._settings.current.max_experiment_files,
                most_bytes=self._settings.current.max_experiment_size,
                left_out=_LEFT_OUT,
            ),
            variables=key | self._variables.of_experiment(project, experiment, folder),
            limits=await self._project_usage.within(project, limits),
            gpus=experiment.nvidia_gpus,
            network=experiment.network,
            identity=sandbox_uids.of_experiment(experiment),
        )
