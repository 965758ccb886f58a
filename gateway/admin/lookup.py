"""From the ids in a path to records, each checked to belong to the one before it."""

import trio

import store
from gateway.control import Control
from gateway.control.audit.audit_log import annotate
from gateway.identity.principal import is_allowed
from store import Build, Deployment, Experiment, Model, Project

# So many rights are looked at in one turn: some 0.5 ms.
_TURN = 100


class Lookup:
    """Raises NotFound where an id names nothing, or something of somebody else's. What it finds
    the audit trail names."""

    def __init__(self, control: Control) -> None:
        self._database = control.context.database
        self._directory = control.context.accounts

    async def projects(self) -> list[Project]:
        """Those that whoever asks may see."""
        seen = []
        for number, project in enumerate(await self._database.read(store.projects.list_all)):
            if number % _TURN == _TURN - 1:
                await trio.lowlevel.checkpoint()
            if is_allowed(self._directory, "project.view", project.id):
                seen.append(project)
        return seen

    async def project(self, project_id: str) -> Project:
        project = await self._database.read(store.projects.get, project_id)
        annotate(f"project {project.name}")
        return project

    async def model(self, project_id: str, model_id: str) -> Model:
        model = await self._database.read(store.models.get, model_id)
        if model.project_id != project_id:
            raise store.NotFound("model", model_id)
        annotate(f"model {model.name}")
        return model

    async def build(self, project_id: str, model_id: str, build_id: str) -> Build:
        model = await self.model(project_id, model_id)
        build = await self._database.read(store.builds.get, build_id)
        if build.model_id != model.id:
            raise store.NotFound("build", build_id)
        annotate(f"build {build.number}")
        return build

    async def deployment(
        self, project_id: str, model_id: str, build_id: str, deployment_id: str
    ) -> Deployment:
        build = await self.build(project_id, model_id, build_id)
        deployment = await self._database.read(store.deployments.get, deployment_id)
        if deployment.build_id != build.id:
            raise store.NotFound("deployment", deployment_id)
        annotate(f"deployment {deployment.number}")
        return deployment

    async def experiment(self, project_id: str, experiment_id: str) -> Experiment:
        experiment = await self._database.read(store.experiments.get, experiment_id)
        if experiment.project_id != project_id:
            raise store.NotFound("experiment", experiment_id)
        annotate(f"experiment {experiment.number}")
        return experiment
