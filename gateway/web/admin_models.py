"""/admin/models: the active models of the site, with Stop, Restart and Rebuild."""

import json
from collections.abc import Awaitable
from functools import partial
from typing import Any

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.admin import admin_frame, totals
from gateway.web.api import url
from gateway.web.listing import Column, Listing
from gateway.web.model_deployments import current_deployment
from gateway.web.routing import PageRequest, PageRouter, submit
from gateway.web.states import state_of

PATH = "/admin/models"
ONE = f"{PATH}/<project_id>/<model_id>"
_COLUMNS = (
    Column("Model", "name"),
    Column("Project", "project.name"),
    Column("Status", "status"),
    Column("Replicas", "replicas_ready", number=True),
    Column("CPU", "used.cpu", number=True),
    Column("Memory", "used.memory_bytes", number=True),
    Column("Deployed By", "deployer.username"),
    Column("Last Deployed", "deployed_at"),
    Column("Actions"),
)
_DONE = {
    "stopped": "The model stops.",
    "restarted": "The replicas restart, one after the other.",
    "rebuilt": "A new build of the model has begun. It is deployed when it is ready.",
}
_REFRESH = 5.0  # seconds


class AdminModelPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "list the active models of the site")
    async def index(self, page: PageRequest) -> Response:
        return await self._page(page)

    @routing.post(f"{ONE}/stop", "stop a model", audit="model.stop")
    async def stop(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        path = url("projects", project_id, "models", model_id)
        return await self._submit(page, page.api.post(f"{path}:stop"), "stopped")

    @routing.post(f"{ONE}/restart", "restart the replicas of a model", audit="deployment.restart")
    async def restart(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        async def restart() -> None:
            model = url("projects", project_id, "models", model_id)
            deployment, build = await current_deployment(page.api, model)
            await page.api.post(f"{build}/deployments{url(deployment['id'])}:restart")

        return await self._submit(page, restart(), "restarted")

    @routing.post(f"{ONE}/rebuild", "build a model again, and deploy it", audit="build.create")
    async def rebuild(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        async def rebuild() -> None:
            model = url("projects", project_id, "models", model_id)
            deployment, path = await current_deployment(page.api, model)
            build = await page.api.get(path)
            await page.api.post(f"{model}/builds", _again(build, deployment))

        return await self._submit(page, rebuild(), "rebuilt")

    async def _submit(self, page: PageRequest, change: Awaitable[object], done: str) -> Response:
        return await submit(change, f"{PATH}?done={done}", partial(self._page, page))

    async def _page(self, page: PageRequest, refused: Refusal | None = None) -> Response:
        frame = admin_frame(PATH)
        listing = Listing(page.query)
        found = await page.api.get("/site/models", **listing.parameters)
        every = await page.api.items("/site/models", "models")
        return await self._router.reply(
            "admin/models.html",
            page.viewer,
            refused=refused,
            **frame,
            columns=_COLUMNS,
            listing=listing.shown(found),
            models=[(each, state_of(each["status"])) for each in found["models"]],
            totals=totals(every),
            done=_DONE.get(page.query.get("done", ""), ""),
            refresh=_REFRESH,
        )


def _again(build: dict[str, Any], deployment: dict[str, Any]) -> dict[str, Any]:
    """The request for a build like this one, deployed as now. Raises Refusal."""
    if deployment["secrets"]:
        problem = "the deployment has secrets of its own, which a page cannot copy"
        advice = "deploy a new build on the page of the model"
        raise Refusal("state.conflict", problem, advice=advice)
    copied = ("file_path", "function_name", "kernel", "model_root_dir", "build_script_path")
    config = {name: deployment[name] for name in ("cpu", "memory", "replicas", "network")}
    config["nvidia_gpus"] = deployment["nvidia_gpu"]
    environment = json.loads(deployment["environment"] or "{}")
    return {
        **{name: build[name] for name in copied},
        "example": build["example"],
        "network": build["network"],
        "comment": f"rebuild of build {build['build_number']}",
        "auto_deploy_model": True,
        "auto_deployment_config": config | {"environment": environment},
    }
