"""Deployments of a model and of its builds."""

from collections.abc import Sequence
from functools import partial

import msgspec

from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.paging import PAGED, Columns, in_turns, page, page_of
from gateway.admin.schemas import (
    Amount,
    Json,
    Variables,
    creator_json,
    failure_json,
    scaled,
    variables_json,
)
from gateway.control import Control, user_variables
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.records import Deployment, Model
from gateway.control.user_variables import ShownVariables
from gateway.control.views import DeploymentView
from gateway.identity.principal import is_allowed, principal
from workers import Network

MODEL = "/projects/<project_id>/models/<model_id>"
MANY = f"{MODEL}/builds/<build_id>/deployments"
ONE = f"{MANY}/<deployment_id>"
_COLUMNS = Columns(
    {
        "deployment_number": "number",
        "build_number": "build_number",
        "status": "status",
        "deployed_at": "deployed_at",
        "stopped_at": "stopped_at",
        "created_at": "created_at",
        "deployer.username": "deployer",
        "replicas": "replicas",
        "cpu": "cpu_millicores",
        "memory": "memory_mb",
    },
    {"deployer.username": "deployer"},
)


class CreateDeployment(msgspec.Struct, kw_only=True):
    """`cpu` in cores, `memory` in GB, `nvidia_gpus` whole GPUs, each for one replica; the model's
    defaults apply to what is missing. With `network` "none" the replicas reach only their callers,
    with "outward" also other machines but nothing on this one. With "listen" they may listen on TCP
    ports, with "machine" they may not.

    `based_on` is the id of a deployment of the model: what it was created with applies to what is
    missing, its variables too, and its secrets to those that are not named."""

    based_on: str = ""
    cpu: float | None = None
    memory: float | None = None
    nvidia_gpus: Amount | None = None
    replicas: Amount | None = None
    network: Network | None = None
    environment: Variables | None = None
    secrets: Variables = {}


class DeploymentRoutes:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._deployments = control.deployments
        self._records = control.records
        self._accounts = control.accounts
        self._lookup = Lookup(control)

    @route.get(
        f"{MODEL}/deployments", "project.view", "list the deployments of a model", query=PAGED
    )
    async def list_of_model(self, project_id: str, model_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        return await page_of(
            "model_deployments", _COLUMNS, partial(self._records.deployments, model), self._items
        )

    @route.post(
        f"{MODEL}:stop",
        "model.operate",
        "stop all deployments of a model and the builds that they wait for; list them",
        audit="model.stop",
    )
    async def stop_all(self, project_id: str, model_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        stopping = await self._control.cancellation.stop_model(model, principal().user)
        return {"model_deployments": [self._json(each) for each in stopping]}

    @route.get(MANY, "project.view", "list the deployments of a build", query=PAGED)
    async def list(self, project_id: str, model_id: str, build_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        found = await self._records.deployments_of(await self._records.build(model, build_id))
        return await page("model_deployments", [self._json(each) for each in found])

    @route.post(MANY, "model.operate", "deploy a build", audit="deployment.create")
    async def create(
        self, project_id: str, model_id: str, build_id: str, body: CreateDeployment
    ) -> Json:
        build = await self._lookup.build(project_id, model_id, build_id)
        model = await self._lookup.model(project_id, model_id)
        edits = is_allowed(self._accounts, "project.edit", project_id)
        defaults = await deployment_defaults(self._control, model, body, with_variables=edits)
        new = new_deployment(defaults, body)
        if not edits:
            new = await self._deployments.earlier.as_before(model, new)
        made = await self._deployments.create(model, build, new, principal().user)
        return self._json(made)

    @route.get(ONE, "project.view", "show a deployment")
    async def show(self, project_id: str, model_id: str, build_id: str, deployment_id: str) -> Json:
        found = await self._lookup.deployment(project_id, model_id, build_id, deployment_id)
        return self._json(found)

    @route.post(f"{ONE}:stop", "model.operate", "stop a deployment", audit="deployment.stop")
    async def stop(self, project_id: str, model_id: str, build_id: str, deployment_id: str) -> Json:
        found = await self._lookup.deployment(project_id, model_id, build_id, deployment_id)
        return self._json(await self._deployments.stop(found))

    @route.post(
        f"{ONE}:restart",
        "model.operate",
        "restart the replicas of a deployment, one after the other",
        audit="deployment.restart",
    )
    async def restart(
        self, project_id: str, model_id: str, build_id: str, deployment_id: str
    ) -> Json:
        found = await self._lookup.deployment(project_id, model_id, build_id, deployment_id)
        await self._deployments.restart(found)
        return self._json(found)

    def _json(self, deployment: Deployment) -> Json:
        return shown_deployment(self._control, deployment)

    async def _items(self, found: Sequence[Deployment]) -> Sequence[Json]:
        return await in_turns(found, self._json)


async def deployment_defaults(
    control: Control, model: Model, body: CreateDeployment | None, *, with_variables: bool = True
) -> NewDeployment:
    """What applies to what a request leaves out: the deployment that it is based on, or the model's
    defaults. Raises NotFound, and Refusal."""
    if body is None or not body.based_on:
        return NewDeployment(
            cpu_millicores=model.cpu_millicores,
            memory_mb=model.memory_mb,
            replicas=model.replicas,
            nvidia_gpus=model.nvidia_gpus,
        )
    before = await control.deployments.earlier.created_with(model, body.based_on)
    if with_variables:
        return before
    return msgspec.structs.replace(before, environment={}, secrets={})


def new_deployment(defaults: NewDeployment, body: CreateDeployment | None) -> NewDeployment:
    """The deployment that a request asks for, with the defaults for what is missing. Raises
    Refusal."""
    body = body or CreateDeployment()
    before = user_variables.Variables(defaults.environment, defaults.secrets)
    variables = user_variables.combine(body.environment, body.secrets, before)
    return NewDeployment(
        cpu_millicores=scaled("cpu", body.cpu, 1000, defaults.cpu_millicores),
        memory_mb=scaled("memory", body.memory, 1024, defaults.memory_mb),
        replicas=defaults.replicas if body.replicas is None else body.replicas,
        nvidia_gpus=defaults.nvidia_gpus if body.nvidia_gpus is None else body.nvidia_gpus,
        network=body.network or defaults.network,
        environment=variables.plain,
        secrets=variables.secrets,
    )


def shown_deployment(control: Control, deployment: Deployment) -> Json:
    """A deployment, with its variables only if the user of the request may see them."""
    edits = is_allowed(control.accounts, "project.edit", deployment.project_id)
    variables = control.variables.shown(deployment) if edits else ShownVariables()
    return deployment_json(control.views.deployment(deployment), variables)


def deployment_json(view: DeploymentView, variables: ShownVariables) -> Json:
    deployment, statistics = view.deployment, view.statistics
    return {
        "id": deployment.id,
        "deployment_number": deployment.number,
        "model_id": deployment.model_id,
        "build_id": deployment.build_id or "",
        "build_number": deployment.build_number,
        "project_id": deployment.project_id,
        "cpu": deployment.cpu_millicores / 1000,
        "memory": deployment.memory_mb / 1024,
        "nvidia_gpu": deployment.nvidia_gpus,
        "replicas": deployment.replicas,
        "replicas_ready": statistics.ready if statistics else 0,
        "network": deployment.network,
        **variables_json(variables),
        "wanted": deployment.wanted,
        "status": deployment.status,
        "waiting_for": view.waiting_for,
        "failure": failure_json(deployment.failure),
        "deployer": creator_json(deployment.deployer),
        "crn": view.crn,
        "created_at": deployment.created_at,
        "updated_at": deployment.updated_at,
        "deployed_at": deployment.deployed_at,
        "stopped_at": deployment.stopped_at,
    }
