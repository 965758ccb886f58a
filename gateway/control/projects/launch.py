"""Starts a build and its deployment in one operation, which may create the model as well.

All checks come before the first write, also that of the project's files (`builder/check`): a model
that could not be built is not created. Where a later step is refused all the same (another request
took the last free place in between), what this operation created is deleted: a refusal leaves
nothing. The audit log then has the creation, its undoing and the refusal. A build that *fails* is
no refusal: its model stays, with the log that says why, and the next build of it continues the
numbers.
"""

from contextlib import suppress
from typing import NamedTuple

from builder import CheckFailed, CheckReport
from gateway.control.audit.audit_log import undoing
from gateway.control.builds.builds import Builds, NewBuild
from gateway.control.builds.project_checks import Checked
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.projects.models import Models, NewModel
from gateway.errors import Refusal
from store import Build, BuildInUse, Deployment, Model, NotFound, Project, User


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
        async with self._builds.checks.looking(project, build) as checked:
            refuse_problems(checked.report)
            return await self._create(project, model, build, deployment, creator, checked)

    async def _create(
        self,
        project: Project,
        model: NewModel,
        build: NewBuild,
        deployment: NewDeployment | None,
        creator: User,
        checked: Checked,
    ) -> Launched:
        created = await self._models.create(project, model, creator)
        try:
            made = await self._builds.create(created, build, creator, checked)
            return Launched(created, made, await self._deploy(created, made, deployment, creator))
        except Exception:
            # Another request may have deleted it.
            with suppress(NotFound), undoing("model.delete", _path_of(created)):
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
        try:
            return Launched(model, made, await self._deploy(model, made, deployment, creator))
        except Exception:
            path = f"{_path_of(model)}/builds/{made.id}"
            # Another request may have deleted it, or may have deployed it.
            with suppress(NotFound, BuildInUse), undoing("build.delete", path):
                await self._builds.delete(model.project_id, made)
            raise

    async def _deploy(
        self, model: Model, build: Build, asked: NewDeployment | None, deployer: User
    ) -> Deployment | None:
        if asked is None or build.status == "build failed":
            return None
        return await self._deployments.create(model, build, asked, deployer)


def refuse_problems(report: CheckReport) -> None:
    """Raises Refusal("build.refused") with all problems that the check has found."""
    try:
        report.raise_problems()
    except CheckFailed as error:
        raise Refusal("build.refused", error.problem, advice=error.advice) from error


def _path_of(model: Model) -> str:
    return f"/projects/{model.project_id}/models/{model.id}"
