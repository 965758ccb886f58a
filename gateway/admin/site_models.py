"""/site/models: what an administrator sees of all that is active."""

from gateway.admin.paging import page
from gateway.admin.router import Router
from gateway.admin.schemas import Json, creator
from gateway.control import Control
from gateway.control.deployments.usage import ActiveModel


def add_routes(routing: Router, control: Control) -> None:
    async def index() -> Json:
        return await page("models", [_as_json(each) for each in await control.usage.measure()])

    routing.add(
        "GET",
        "/site/models",
        "site.administer",
        "all models that are active, and what they take of the machine",
        index,
    )


def _as_json(active: ActiveModel) -> Json:
    """CPU in cores and memory in bytes, of all replicas together."""
    model, deployment, statistics = active.model, active.deployment, active.statistics
    return {
        "id": model.id,
        "model_number": model.number,
        "name": model.name,
        "project": {"id": active.project.id, "name": active.project.name},
        "creator": creator(model.creator),
        "status": deployment.status,
        "deployment_id": deployment.id,
        "deployment_number": deployment.number,
        "build_id": deployment.build_id or "",
        "build_number": deployment.build_number,
        "deployer": creator(deployment.deployer),
        "deployed_at": deployment.deployed_at,
        "replicas_wanted": deployment.replicas,
        "replicas_ready": statistics.ready if statistics else 0,
        "waiting": statistics.waiting if statistics else 0,
        "requested": {
            "cpu": deployment.replicas * deployment.cpu_millicores / 1000,
            "memory_bytes": deployment.replicas * deployment.memory_mb * 1024 * 1024,
        },
        "used": {
            "cpu": round(active.taken.cores, 3),
            "cpu_seconds": round(active.taken.cpu_seconds, 2),
            "memory_bytes": active.taken.memory,
        },
    }
