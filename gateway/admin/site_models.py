"""/site/models: all active models, for site administrators."""

from gateway.admin.routing import route
from gateway.admin.routing.paging import PAGED, page
from gateway.admin.schemas import Json, creator_json
from gateway.control import Control
from gateway.control.deployments.usage import ActiveModel


class SiteModelRoutes:
    def __init__(self, control: Control) -> None:
        self._usage = control.usage

    @route.get(
        "/site/models",
        "site.administer",
        "list all active models and the resources that they use",
        query=PAGED,
    )
    async def list(self) -> Json:
        return await page("models", [_json(each) for each in await self._usage.measure()])


def _json(active: ActiveModel) -> Json:
    """CPU in cores, memory in bytes and GPUs, of all replicas together. The CPU that is used is
    null until a new replica was measured twice."""
    model, deployment, statistics = active.model, active.deployment, active.statistics
    return {
        "id": model.id,
        "model_number": model.number,
        "name": model.name,
        "project": {"id": active.project.id, "name": active.project.name},
        "creator": creator_json(model.creator),
        "status": deployment.status,
        "deployment_id": deployment.id,
        "deployment_number": deployment.number,
        "build_id": deployment.build_id or "",
        "build_number": deployment.build_number,
        "deployer": creator_json(deployment.deployer),
        "deployed_at": deployment.deployed_at,
        "replicas_wanted": deployment.replicas,
        "replicas_ready": statistics.ready if statistics else 0,
        "waiting": statistics.waiting if statistics else 0,
        "requested": {
            "cpu": deployment.replicas * deployment.cpu_millicores / 1000,
            "memory_bytes": deployment.replicas * deployment.memory_mb * 1024 * 1024,
            "gpus": deployment.replicas * deployment.nvidia_gpus,
        },
        "used": {
            "cpu": None if active.used.cores is None else round(active.used.cores, 3),
            "cpu_seconds": round(active.used.cpu_seconds, 2),
            "memory_bytes": active.used.memory,
            "gpus": round(active.used.gpus_busy, 3),
            "gpu_memory_bytes": active.used.gpu_memory,
        },
    }
