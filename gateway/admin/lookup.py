"""From the ids in a path to records. The audit entry of the request names what is found.

Each method raises NotFound for an id that names nothing, or a record of another parent.
"""

from gateway.control import Control
from gateway.control.audit.audit_log import annotate
from gateway.control.records import Build, Deployment, Experiment, Model, Project
from gateway.identity.principal import is_allowed


class Lookup:
    """Finds records for the user of the running request."""

    def __init__(self, control: Control) -> None:
        self._records = control.records
        self._accounts = control.accounts

    async def visible_projects(self) -> list[Project]:
        """The projects that the user may view."""
        return await self._records.projects(
            lambda project_id: is_allowed(self._accounts, "project.view", project_id)
        )

    async def project(self, project_id: str) -> Project:
        project = await self._records.project(project_id)
        annotate(f"project {project.name}")
        return project

    async def model(self, project_id: str, model_id: str) -> Model:
        model = await self._records.model(project_id, model_id)
        annotate(f"model {model.name}")
        return model

    async def build(self, project_id: str, model_id: str, build_id: str) -> Build:
        model = await self.model(project_id, model_id)
        build = await self._records.build(model, build_id)
        annotate(f"build {build.number}")
        return build

    async def deployment(
        self, project_id: str, model_id: str, build_id: str, deployment_id: str
    ) -> Deployment:
        build = await self.build(project_id, model_id, build_id)
        deployment = await self._records.deployment(build, deployment_id)
        annotate(f"deployment {deployment.number}")
        return deployment

    async def experiment(self, project_id: str, experiment_id: str) -> Experiment:
        experiment = await self._records.experiment(project_id, experiment_id)
        annotate(f"experiment {experiment.number}")
        return experiment
