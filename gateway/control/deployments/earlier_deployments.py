"""What a new deployment takes over from earlier ones of its model: sizes, network, variables."""

import msgspec

import store
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.deployments.rollout_services import RolloutServices
from gateway.control.user_variables import Variables
from gateway.encryption import CannotDecrypt
from gateway.errors import Refusal
from store import Deployment, Model
from workers import NETWORKS


class EarlierDeployments:
    """The deployments of a model, for the request of another one."""

    def __init__(self, services: RolloutServices) -> None:
        self._services = services

    async def as_before(self, model: Model, asked: NewDeployment) -> NewDeployment:
        """The deployment for a user who may deploy but not edit: with the variables of the model's
        present deployment, and no more network than that has. Variables decide what code runs
        (LD_PRELOAD, PYTHONPATH), so to give some is to edit. Raises Refusal."""
        for name in ("environment", "secrets"):
            if getattr(asked, name):
                text = f"{name}: to set variables needs 'project.edit'; without, they stay"
                raise Refusal("auth.forbidden", text)
        present = await self._services.database.read(store.deployments.current, model.id)
        if present is None:
            return asked
        kept = self._variables_of(present)
        return msgspec.structs.replace(
            asked,
            network=min(asked.network, present.network, key=NETWORKS.index),
            environment=kept.plain,
            secrets=kept.secrets,
        )

    async def created_with(self, model: Model, deployment_id: str) -> NewDeployment:
        """What a deployment of the model was created with, its variables too. Raises NotFound, and
        Refusal."""
        found = await self._services.database.read(store.deployments.get, deployment_id)
        if found.model_id != model.id:
            raise store.NotFound("deployment", deployment_id)
        kept = self._variables_of(found)
        return NewDeployment(
            cpu_millicores=found.cpu_millicores,
            memory_mb=found.memory_mb,
            replicas=found.replicas,
            nvidia_gpus=found.nvidia_gpus,
            network=found.network,
            environment=kept.plain,
            secrets=kept.secrets,
        )

    def _variables_of(self, deployment: Deployment) -> Variables:
        try:
            return self._services.variables.decrypt(deployment)
        except CannotDecrypt as error:
            text = f"{error}; who may edit the project has to deploy with new variables"
            raise Refusal("state.conflict", text) from error
