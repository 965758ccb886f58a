"""What a deployment waits for before its rollout: its build, and that its variables can be
decrypted."""

import logging

import trio

import store
from gateway.control import failures
from gateway.control.deployments.rollout_services import RolloutServices
from gateway.control.operation import Operation
from store import Build, Deployment

logger = logging.getLogger(__name__)


async def wait_for_build(
    services: RolloutServices, deployment: Deployment, operation: Operation
) -> Build | None:
    """The build at its end; None if the deployment was stopped meanwhile. A rebuild that fails
    does not end what was deployed: it is tried again."""
    assert deployment.build_id is not None
    pause, endpoints = services.timeouts.first_rebuild_retry, services.endpoints
    what = f"build {deployment.build_number}"
    why = f"{what} is being rebuilt" if deployment.status == "deployed" else ""
    with endpoints.absent(deployment.model_id, why), operation.cancellable(what):
        while True:
            build = await services.builds.built_or_rebuilt(deployment.build_id)
            if build.status == "built" or deployment.status != "deployed":
                return build
            problem = failures.build_failed(build).problem
            fields = (deployment.number, pause, problem)
            logger.error("rebuild.failed deployment=%d retry_seconds=%g: %s", *fields)
            await trio.sleep(pause)
            pause = min(2 * pause, services.timeouts.longest_rebuild_retry)
    return None


async def wait_until_decryptable(
    services: RolloutServices, deployment: Deployment, operation: Operation
) -> bool:
    """False if the deployment was stopped meanwhile. Variables that cannot be decrypted do not end
    what was deployed: they may be set again, or the next gateway may have the right
    `secret.key`."""
    if deployment.status != "deployed":
        return True
    why = "its variables cannot be decrypted"
    with services.endpoints.absent(deployment.model_id, why), operation.cancellable():
        while problem := await _problem_of(services, deployment):
            operation.wait_for(f"its variables, which cannot be decrypted: {problem}")
            operation.milestone.set()  # other deployments do not wait for this one
            await trio.sleep(services.timeouts.decrypt_retry)
        return True
    return False


async def _problem_of(services: RolloutServices, deployment: Deployment) -> str:
    project = await services.database.read(store.projects.get, deployment.project_id)
    return services.variables.problem_of(project, deployment)
