"""What clients of the control are shown: a record together with what it is doing now.

A record says what the store has; a view adds what only memory knows, such as the replicas that are
ready. A view is a snapshot of one moment.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import aiosqlite
import msgspec
import trio

import store
from gateway.control.builds.builds import Builds
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.replica_logs import logs_of
from gateway.control.experiments.experiments import Experiments
from gateway.control.variables import GatewayUrls
from gateway.crn import crn
from gateway.data_folder import DataFolder
from gateway.predictions.endpoints import Endpoints
from store import Build, Database, Deployment, Experiment, Model
from workers import WAITING_FOR_GPU, Pool, PoolStatistics

# Models that are read in one transaction; between two of them other tasks run.
_BATCH = 50
# Views that are made in one step.
_TURN = 20


class CurrentPool(msgspec.Struct, frozen=True):
    """The deployment that a model's status is about, and its pool: None before it has one and
    after it has ended."""

    deployment: Deployment | None = None
    pool: Pool | None = None


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its callers and editors see it.

    `deployment` is the one that the model's `status` is about; without one, `status` is "".
    `statistics` are None while nothing of it is started. `example` is the latest example input of
    its builds, as JSON text, `example_output` that build's. `access_key` and `url` are what a
    caller needs.
    """

    model: Model
    deployment: Deployment | None
    status: str
    statistics: PoolStatistics | None
    latest_build: Build | None
    example: str | None
    example_output: str | None
    access_key: str
    url: str
    crn: str


class BuildView(msgspec.Struct, frozen=True, kw_only=True):
    """A build; while it is made, its `status` and `steps` are those of this moment."""

    build: Build
    crn: str


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment. `statistics` are None while it has no pool; `waiting_for` says what a rollout
    waits for, "" if for nothing."""

    deployment: Deployment
    statistics: PoolStatistics | None
    waiting_for: str
    crn: str


class ExperimentView(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment. `metrics` are the latest value of each key, of a running script too."""

    experiment: Experiment
    metrics: dict[str, float]
    waiting_for: str


class _StoredFacts(NamedTuple):
    """What the store knows of models, by their ids: of each the deployment that its status is
    about, the latest build and the example input."""

    deployments: dict[str, Deployment]
    builds: dict[str, Build]
    examples: dict[str, tuple[str, str | None]]


class Views:
    """Makes views of records."""

    def __init__(
        self,
        *,
        database: Database,
        data: DataFolder,
        endpoints: Endpoints,
        urls: GatewayUrls,
        instance_id: str,
        builds: Builds,
        deployments: Deployments,
        experiments: Experiments,
    ) -> None:
        self._database = database
        self._data = data
        self._endpoints = endpoints
        self._urls = urls
        self._instance_id = instance_id
        self._builds = builds
        self._deployments = deployments
        self._experiments = experiments

    async def model(self, model: Model) -> ModelView:
        """The view of one model."""
        [view] = await self.models([model])
        return view

    async def models(self, models: Sequence[Model]) -> list[ModelView]:
        """The views of models, in their order."""
        found: list[ModelView] = []
        for first in range(0, len(models), _BATCH):
            batch = models[first : first + _BATCH]
            facts = await self._database.read(_facts, [model.id for model in batch])
            for model in batch:
                found.append(self._model(model, facts))
                if len(found) % _TURN == 0:
                    await trio.lowlevel.checkpoint()
        return found

    def _model(self, model: Model, facts: _StoredFacts) -> ModelView:
        current, latest = facts.deployments.get(model.id), facts.builds.get(model.id)
        pool = self._deployments.pool(current.id) if current else None
        example, output = facts.examples.get(model.id, (None, None))
        return ModelView(
            model=model,
            deployment=current,
            status=self._deployments.state(current) if current else "",
            statistics=pool.statistics() if pool else None,
            latest_build=self._builds.with_live_status(latest) if latest else None,
            example=example,
            example_output=output,
            access_key=self._endpoints.key_of(model),
            url=f"{self._urls.public}/model",
            crn=crn(self._instance_id, model.id),
        )

    async def current_pool(self, model: Model) -> CurrentPool:
        """What serves the model now, or is to serve it."""
        current = await self._database.read(store.deployments.current, model.id)
        return CurrentPool(current, self._deployments.pool(current.id) if current else None)

    async def model_logs(self, model: Model) -> list[Path]:
        """The log files of the model's replicas, oldest first; a stem is the replica's name."""
        return await trio.to_thread.run_sync(logs_of, self._data.model_logs(model.id))

    def build(self, build: Build) -> BuildView:
        """The view of one build."""
        return BuildView(
            build=self._builds.with_live_status(build), crn=crn(self._instance_id, build.id)
        )

    def build_log(self, build: Build) -> Path:
        """The log file of a build."""
        return self._data.build_log(build.id)

    def deployment(self, deployment: Deployment) -> DeploymentView:
        """The view of one deployment."""
        pool = self._deployments.pool(deployment.id)
        statistics = pool.statistics() if pool else None
        waiting_for = self._deployments.waiting_for(deployment.id)
        return DeploymentView(
            deployment=deployment,
            statistics=statistics,
            waiting_for=waiting_for or (_gpus_lacking(statistics) if statistics else ""),
            crn=crn(self._instance_id, deployment.id),
        )

    async def experiment(self, experiment: Experiment) -> ExperimentView:
        """The view of one experiment."""
        metrics = experiment.metrics
        if experiment.status == "running":
            metrics = {p.key: p.value for p in await self._experiments.points(experiment)}
        return ExperimentView(
            experiment=experiment,
            metrics=metrics,
            waiting_for=self._experiments.waiting_for(experiment.id),
        )

    def experiment_log(self, experiment: Experiment) -> Path:
        """The log file of an experiment."""
        return self._data.experiment_log(experiment.id)

    def experiment_outputs(self, experiment: Experiment) -> Path:
        """The folder of what an experiment has kept."""
        return self._data.experiment(experiment.id).outputs


async def _facts(connection: aiosqlite.Connection, model_ids: list[str]) -> _StoredFacts:
    return _StoredFacts(
        deployments=await store.deployments.current_of(connection, model_ids),
        builds=await store.builds.latest_of(connection, model_ids),
        examples=await store.builds.examples(connection, model_ids),
    )


def _gpus_lacking(statistics: PoolStatistics) -> str:
    """How many replicas of a pool wait for GPUs, as after one was lost."""
    slots = statistics.slots
    waiting = sum(slot.status == WAITING_FOR_GPU for slot in slots)
    return f"GPUs, for {waiting} of {len(slots)} replicas" if waiting else ""
