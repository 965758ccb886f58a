"""Starts a build and its deployment in one operation, which may create the model as well.

All checks come before the first write. Where a later step is refused all the same (another request
took the last free place in between), what this operation created is deleted: a refusal leaves
nothing. A build that *fails* is no refusal: its model stays, with the log that says why, and the
next build of it continues the numbers.
"""

from contextlib import suppress
from typing import NamedTuple

from gateway.control.builds.builds import Builds, NewBuild
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.projects.models import Models, NewModel
from store import Build, Deployment, Model, NotFound, Project, User


class Launched(NamedTuple):
    """What was started. There is no deployment if none was asked for, or the snapshot failed."""

    model: Model
    build: Build
    deployment: Deployment | None


class Launcher:
    """Builds and deploys a model, new or not."""

    def __init__(self, models: Models, builds: Builds, deployments: Deployments) -> None:
        self._models = models
        self._builds = builds
        self._deployments = deployments

    async def create_model(
        self,
        project: Project,
        model: NewModel,
        build: NewBuild,
        deployment: NewDeployment | None,
        creator: User,
    ) -> Launched:
        """Creates the model, starts its first build and the deployment that waits for it. Raises
        what each of the three raises; then there is none of them."""
        await self._builds.check(project, build)
        if deployment is not None:
            self._deployments.check(project.id, deployment)
        created = await self._models.create(project, model, creator)
        try:
            return await self.build(created, build, deployment, creator)
        except Exception:
            with suppress(NotFound):  # another request may have deleted it
                await self._models.delete(created)
            raise

    async def build(
        self, model: Model, build: NewBuild, deployment: NewDeployment | None, creator: User
    ) -> Launched:
        """Starts another build of the model and the deployment that waits for it. Raises what each
        of the two raises; then there is neither."""
        if deployment is not None:
            self._deployments.check(model.project_id, deployment, model_id=model.id)
        made = await self._builds.create(model, build, creator)
        if deployment is None or made.status == "build failed":
            return Launched(model, made, None)
        try:
            waiting = await self._deployments.create(model, made, deployment, creator)
        except Exception:
            with suppress(NotFound):
                await self._builds.delete(model.project_id, made)
            raise
        return Launched(model, made, waiting)
