"""The files of experiments: what is left after a script, or after the gateway, has ended."""

import logging
from contextlib import AbstractContextManager
from functools import partial

import trio

import builder
from gateway.control.admission import Admission
from gateway.control.builds.snapshots import Snapshots
from gateway.control.disk.removal_queue import RemovalQueue, remove
from gateway.control.experiments.metrics_file import ParsedMetrics, not_kept, read_metrics_file
from gateway.data_folder import DataFolder
from gateway.set_aside import LOOK, SetAside
from store import Experiment, Project
from workers import Log, clear_run

logger = logging.getLogger(__name__)


class RunFiles:
    """Recovers and removes them."""

    def __init__(
        self,
        *,
        data: DataFolder,
        set_aside: SetAside,
        removal_queue: RemovalQueue,
        snapshots: Snapshots,
        admission: Admission,
    ) -> None:
        self._data = data
        self._set_aside = set_aside
        self._removal_queue = removal_queue
        self._snapshots = snapshots
        self._admission = admission

    def recovery_of(self, experiment: Experiment) -> AbstractContextManager[None]:
        """An error inside the block is recorded, and ends nothing else."""
        folder = self._data.experiment(experiment.id).folder
        return self._set_aside.item(f"experiment {experiment.number}", folder)

    def recover(self, experiment: Experiment) -> ParsedMetrics:
        """For an experiment that ran when the last gateway ended. Returns its metrics, whose file
        stays until its row has them. Keeps its outputs, and moves aside what of them cannot be
        owned. Blocking."""
        name, folder = f"experiment {experiment.number}", self._data.experiment(experiment.id)
        metrics = read_metrics_file(folder.metrics)
        if metrics.problem:
            self._set_aside.note(f"the metrics of {name}", folder.metrics, metrics.problem, LOOK)
        for path, error in clear_run(folder.folder, folder.kept).items():
            self._set_aside.move(f"the folder {path.name} of {name}", path, error)
        if warning := not_kept(metrics):
            log = Log(self._data.experiment_log(experiment.id))
            log.write(warning, "stderr")
            log.close()
        return metrics

    async def hiding_line(self, project: Project, path: str) -> str:
        """The line of `.gitignore` that keeps a file of the project out of its next builds, in
        words; "" if none does, or if that cannot be found out."""
        try:
            return await self._snapshots.hiding_line(project, path)
        except (builder.BuilderError, OSError) as error:
            logger.warning("ignore_files.unread project=%s: %s", project.id, error)
            return ""

    async def remove_metrics(self, experiment: Experiment) -> None:
        """Removes the file of the metrics, which the row has."""
        folder = self._data.experiment(experiment.id)
        await trio.to_thread.run_sync(remove, folder.tracked, self._set_aside)

    async def remove(self, experiment: Experiment, log: Log) -> None:
        """Removes the files of an experiment whose row is deleted, and its snapshot."""
        await self._removal_queue.remove(partial(self._remove, experiment, log))

    async def _remove(self, experiment: Experiment, log: Log) -> None:
        await self._admission.prepare_removal()
        await self._snapshots.drop(experiment.project_id, experiment.id)
        folder = self._data.experiment(experiment.id).folder
        await trio.to_thread.run_sync(remove, folder, self._set_aside)
        await trio.to_thread.run_sync(log.remove)
