"""The deployments of a model: the list, one deployment and how it differs from another one, the
form that deploys a build again, and the way back to the build that served before."""

import json
from typing import Any

from quart import Response

from gateway.control import Control
from gateway.control.records import NotFound
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url, usable_gpus
from gateway.web.frames import model_frame
from gateway.web.listing import Column, Listing
from gateway.web.redeploy import (
    NETWORKS,
    before_current,
    deployment_asked,
    differences,
    form_values,
)
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.states import state_of

Json = dict[str, Any]
_MODEL = "/projects/<project_id>/models/<model_id>"
MANY = f"{_MODEL}/deployments"
ONE = f"{MANY}/<deployment_id>"
DEPLOY = f"{_MODEL}/builds/<build_id>/deploy"
_COLUMNS = (
    Column("Id", "deployment_number"),
    Column("Build", "build_number"),
    Column("Status", "status"),
    Column("Deployed At", "deployed_at"),
    Column("Stopped At", "stopped_at"),
    Column("Deployed By", "deployer.username"),
    Column("Replicas", "replicas", number=True),
    Column("CPU", "cpu", number=True),
    Column("Memory", "memory", number=True),
    Column("Actions"),
)
_REFRESH = 2.0  # seconds; replicas become ready without a change in the database
# Deployments among which an earlier one is looked for.
_RECENT = 200
_VARIABLES_BYTES = 64 * 1024
_DONE = {
    "deploy": "The deployment has begun. What served before answers calls until it is ready.",
    "back": "The roll back has begun. What served before answers calls until it is ready.",
    "stop": "The deployment stops.",
    "restart": "The replicas restart, one after the other.",
}


class DeploymentPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the deployments of a model")
    async def index(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        return await self._index(page, project_id, model_id)

    async def _index(
        self,
        page: PageRequest,
        project_id: str,
        model_id: str,
        refused: Refusal | None = None,
    ) -> Response:
        frame = await model_frame(page, project_id, model_id)
        path = f"{frame['model_base']}/deployments"
        listing = Listing(page.query, field="deployer.username", sort="-deployment_number")
        found = await page.api.get(path, **listing.parameters)
        recent = await _recent(page, path)
        return await self._router.reply(
            "deployments/index.html",
            page.viewer,
            **frame,
            tab=path,
            columns=_COLUMNS,
            listing=listing.shown(found),
            deployments=[(each, state_of(each["status"])) for each in found["model_deployments"]],
            back=before_current(recent, frame["model"]["current_deployment_id"]),
            done=_DONE.get(page.query.get("done", ""), ""),
            refused=refused,
            refresh=_REFRESH,
        )

    @routing.get(ONE, "show a deployment, and how it differs from another one")
    async def show(
        self, page: PageRequest, project_id: str, model_id: str, deployment_id: str
    ) -> Response:
        frame = await model_frame(page, project_id, model_id)
        path = f"{frame['model_base']}/deployments"
        recent = await _recent(page, path)
        deployment = await _deployment(page, path, deployment_id)
        number = deployment["deployment_number"]
        earlier = [each for each in recent if each["deployment_number"] < number]
        since = page.query.get("since", "") or (earlier[0]["id"] if earlier else "")
        other = await _deployment(page, path, since) if since else None
        return await self._router.reply(
            "deployments/show.html",
            page.viewer,
            **frame,
            tab=path,
            deployments_base=path,
            deployment=deployment,
            deployment_state=state_of(deployment["status"]),
            networks=NETWORKS,
            environment=json.loads(deployment["environment"] or "{}"),
            others=[each for each in recent if each["id"] != deployment_id],
            other=other,
            differences=other and differences(other, deployment),
            serves=deployment["status"] in ("deployed", "deploying"),
            done=_DONE.get(page.query.get("done", ""), ""),
            refresh=_REFRESH,
        )

    @routing.get(DEPLOY, "show the form that deploys a build", needs="model.operate")
    async def form(
        self, page: PageRequest, project_id: str, model_id: str, build_id: str
    ) -> Response:
        return await self._form(page, project_id, model_id, build_id)

    @routing.post(
        DEPLOY,
        "deploy a build",
        audit="deployment.create",
        needs="model.operate",
        max_form=_VARIABLES_BYTES,
    )
    async def deploy(
        self, page: PageRequest, project_id: str, model_id: str, build_id: str
    ) -> Response:
        model = url("projects", project_id, "models", model_id)
        try:
            asked = deployment_asked(page.form, edits=page.may("project.edit", project_id))
            await page.api.post(f"{model}/builds{url(build_id)}/deployments", asked)
        except Refusal as refused:
            return await self._form(page, project_id, model_id, build_id, refused)
        return redirect(f"{model}/deployments?done=deploy")

    async def _form(
        self,
        page: PageRequest,
        project_id: str,
        model_id: str,
        build_id: str,
        refused: Refusal | None = None,
    ) -> Response:
        frame = await model_frame(page, project_id, model_id)
        path = f"{frame['model_base']}/deployments"
        build = await page.api.get(f"{frame['model_base']}/builds{url(build_id)}")
        recent = await _recent(page, path)
        asked = page.query.get("based_on", "") or page.form.get("based_on", "")
        if asked:
            based_on: Json | None = await _deployment(page, path, asked)
        else:
            current = frame["model"]["current_deployment_id"]
            of_build = (each for each in recent if each["build_id"] == build_id)
            of_model = (each for each in recent if each["id"] == current)
            based_on = next(of_build, None) or next(of_model, None)
        field, _, problem = refused.message.partition(": ") if refused else ("", "", "")
        values = {**form_values(frame["model"], based_on), **page.form}
        return await self._router.reply(
            "deployments/form.html",
            page.viewer,
            **frame,
            tab=path,
            deployments_base=path,
            build=build,
            gpus=await usable_gpus(page.api),
            networks=NETWORKS,
            based_on=based_on,
            values=values,
            errors={name: problem if name == field else "" for name in values},
            misplaced=field not in values,
            refused=refused,
        )

    @routing.post(
        f"{MANY}/roll-back",
        "deploy the build that served before",
        audit="deployment.create",
        needs="model.operate",
    )
    async def roll_back(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        model = url("projects", project_id, "models", model_id)
        deployments = f"{model}/deployments"
        before = await _deployment(page, deployments, page.form.get("deployment", ""))
        path = f"{model}/builds{url(before['build_id'])}/deployments"
        try:
            await page.api.post(path, {"based_on": before["id"]})
        except Refusal as refused:
            return await self._index(page, project_id, model_id, refused)
        return redirect(f"{deployments}?done=back")

    @routing.post(
        f"{ONE}/stop", "stop a deployment", audit="deployment.stop", needs="model.operate"
    )
    async def stop(
        self, page: PageRequest, project_id: str, model_id: str, deployment_id: str
    ) -> Response:
        return await self._act(page, project_id, model_id, deployment_id, "stop")

    @routing.post(
        f"{ONE}/restart", "restart a deployment", audit="deployment.restart", needs="model.operate"
    )
    async def restart(
        self, page: PageRequest, project_id: str, model_id: str, deployment_id: str
    ) -> Response:
        return await self._act(page, project_id, model_id, deployment_id, "restart")

    async def _act(
        self, page: PageRequest, project_id: str, model_id: str, deployment_id: str, act: str
    ) -> Response:
        model = url("projects", project_id, "models", model_id)
        found = await _deployment(page, f"{model}/deployments", deployment_id)
        of_build = f"{model}/builds{url(found['build_id'])}/deployments"
        try:
            await page.api.post(f"{of_build}{url(deployment_id)}:{act}")
        except Refusal as refused:
            return await self._index(page, project_id, model_id, refused)
        return redirect(f"{model}/deployments{url(deployment_id)}?done={act}")


async def _recent(page: PageRequest, path: str) -> list[Json]:
    """The latest deployments of a model, the last one first."""
    found = await page.api.get(path, sort="-deployment_number", page_size=_RECENT)
    return list(found["model_deployments"])


async def _deployment(page: PageRequest, path: str, deployment_id: str) -> Json:
    """A deployment of a model, whose build may be deleted. Raises NotFound."""
    wanted = json.dumps({"id": deployment_id[:100]})
    found = await page.api.get(path, search_filter=wanted)
    for each in found["model_deployments"]:
        if each["id"] == deployment_id:
            return dict(each)
    raise NotFound("deployment", deployment_id)
