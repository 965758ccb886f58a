"""The records of the store, found by their ids: the read side for a client that has only an id.

`Records` raises NotFound for an id that names nothing, or a record of another parent: an id from a
path gives access to its own project only. Every method reads what is committed. Lists ascend by
creation.

The types of records are exported here too, so that a client of the control need not import the
store.
"""

from collections.abc import Callable

import trio

import store
from store import (
    AuditEntry,
    Build,
    Database,
    Deployment,
    Experiment,
    Failure,
    Key,
    KeyKind,
    ListPart,
    MetricSeries,
    Model,
    NotFound,
    Project,
    RequestQuery,
    Role,
    Runtime,
    Session,
    Step,
    StoredMetricRecord,
    StoredRequest,
    User,
    Visibility,
    as_text,
    now,
)

__all__ = [
    "AuditEntry",
    "Build",
    "Deployment",
    "Experiment",
    "Failure",
    "Key",
    "KeyKind",
    "ListPart",
    "MetricSeries",
    "Model",
    "NotFound",
    "Project",
    "Records",
    "RequestQuery",
    "Role",
    "Runtime",
    "Session",
    "Step",
    "StoredMetricRecord",
    "StoredRequest",
    "User",
    "Visibility",
    "as_text",
    "now",
]

# Permissions that are checked in one step of the loop: some 0.5 ms.
_BATCH = 100


class Records:
    """Projects, models, builds, deployments and experiments, by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def changes(self) -> int:
        """A number that grows with each change of any record."""
        return self._database.changes

    async def projects(self, visible: Callable[[str], bool]) -> list[Project]:
        """The projects for whose id `visible` is true."""
        found = []
        for number, project in enumerate(await self._database.read(store.projects.list_all)):
            if number % _BATCH == _BATCH - 1:
                await trio.lowlevel.checkpoint()
            if visible(project.id):
                found.append(project)
        return found

    async def project(self, project_id: str) -> Project:
        return await self._database.read(store.projects.get, project_id)

    async def models(self, project_id: str | None = None) -> list[Model]:
        """Of one project, or (None) of all."""
        if project_id is None:
            return await self._database.read(store.models.list_all)
        return await self._database.read(store.models.list_all, project_id)

    async def model(self, project_id: str, model_id: str) -> Model:
        model = await self._database.read(store.models.get, model_id)
        if model.project_id != project_id:
            raise NotFound("model", model_id)
        return model

    async def exists(self, model: Model) -> bool:
        """Whether the model has not been deleted."""
        try:
            await self._database.read(store.models.get, model.id)
        except NotFound:
            return False
        return True

    async def builds(self, model: Model, part: ListPart | None = None) -> list[Build]:
        """Of a model: all, or a part."""
        if part is not None:
            return await self._database.read(store.builds.list_part, model.id, part)
        return await self._database.read(store.builds.list_all, model.id)

    async def build(self, model: Model, build_id: str) -> Build:
        build = await self._database.read(store.builds.get, build_id)
        if build.model_id != model.id:
            raise NotFound("build", build_id)
        return build

    async def deployments(self, model: Model, part: ListPart | None = None) -> list[Deployment]:
        """Of a model: all, or a part."""
        if part is not None:
            return await self._database.read(store.deployments.list_part, model.id, part)
        return await self._database.read(store.deployments.list_all, model.id)

    async def deployments_of(self, build: Build) -> list[Deployment]:
        """Of a build."""
        return await self._database.read(store.deployments.of_build, build.id)

    async def wanted_deployments(self) -> list[Deployment]:
        """Of all models: those that should be served."""
        return await self._database.read(store.deployments.wanted)

    async def deployment(self, build: Build, deployment_id: str) -> Deployment:
        deployment = await self._database.read(store.deployments.get, deployment_id)
        if deployment.build_id != build.id:
            raise NotFound("deployment", deployment_id)
        return deployment

    async def experiments(
        self, project_id: str | None = None, part: ListPart | None = None
    ) -> list[Experiment]:
        """Of one project, all or a part; or (None) of all projects."""
        if project_id is None:
            return await self._database.read(store.experiments.list_all)
        if part is not None:
            return await self._database.read(store.experiments.list_part, project_id, part)
        return await self._database.read(store.experiments.list_all, project_id)

    async def experiment(self, project_id: str, experiment_id: str) -> Experiment:
        experiment = await self._database.read(store.experiments.get, experiment_id)
        if experiment.project_id != project_id:
            raise NotFound("experiment", experiment_id)
        return experiment
