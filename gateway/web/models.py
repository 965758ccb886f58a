"""/models: the list of models; the overview of one, with Test Model, Stop and Restart."""

import json
from typing import Any

import trio
from quart import Response

from gateway.client.snippets import samples
from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.frames import Values, model_frame
from gateway.web.listing import Column, Listing
from gateway.web.model_deployments import current_deployment, shown_deployment
from gateway.web.model_form import text_of
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.states import model_state, state_of
from gateway.web.test_model import (
    InputField,
    TestResult,
    fields_of,
    request_of,
    test_model,
    typed_fields,
)
from gateway.web.traffic_charts import overview_charts
from gateway.web.try_function import is_expected

MANY = "/models"
ONE = "/projects/<project_id>/models/<model_id>"
_COLUMNS = (
    Column("Model", "name"),
    Column("Status", "status"),
    Column("Replicas", "replicas_ready"),
    Column("Build", "current_build_number", number=True),
    Column("Project", "project.name"),
    Column("Last Deployed", "updated_at"),
)
_REFRESH = 2.0  # seconds; replicas become ready without a change in the database
_MOST_FORM = 48 * 1024
_DONE = {
    "stopped": "The model was stopped. Re-deploy it to answer calls again.",
    "restarted": "The restart has begun: the replicas restart one after the other.",
    "saved": "The settings are saved.",
    "regenerated": "The model has a new access key. Calls with the old one are refused.",
}
_LANGUAGES = ("Shell", "Python", "R", "JavaScript")


class ModelPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the models of all projects")
    async def index(self, page: PageRequest) -> Response:
        listing = Listing(page.query)
        found = await page.api.get(MANY, **listing.parameters)
        return await self._router.reply(
            "models/index.html",
            page.viewer,
            here=MANY,
            columns=_COLUMNS,
            listing=listing.shown(found),
            models=[(model, model_state(model)) for model in found["models"]],
            refresh=_REFRESH,
        )

    @routing.get(ONE, "show a model")
    async def show(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        return await self._show(page, await model_frame(page, project_id, model_id))

    @routing.post(
        f"{ONE}/test",
        "call a model once",
        audit="model.test",
        needs="model.call",
        max_form=_MOST_FORM,
    )
    async def test(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await model_frame(page, project_id, model_id)
        model = frame["model"]
        fields = typed_fields(fields_of(model["example"]), page.form)
        text = page.form.get("request")
        if text is None:
            text = request_of(fields, model["example"] or {})
        try:
            result = await test_model(page, model, text)
        except Refusal as refused:
            return await self._show(page, frame, fields, text, refused=refused)
        return await self._show(page, frame, fields, text, result)

    @routing.post(f"{ONE}/stop", "stop a model", audit="model.stop", needs="model.operate")
    async def stop(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        base = url("projects", project_id, "models", model_id)
        await page.api.post(f"{base}:stop")
        return redirect(f"{base}?done=stopped")

    @routing.post(
        f"{ONE}/restart", "restart a model", audit="deployment.restart", needs="model.operate"
    )
    async def restart(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        base = url("projects", project_id, "models", model_id)
        deployment, build = await current_deployment(page.api, base)
        await page.api.post(f"{build}/deployments{url(deployment['id'])}:restart")
        return redirect(f"{base}?done=restarted")

    async def _show(
        self,
        page: PageRequest,
        frame: Values,
        fields: list[InputField] | None = None,
        text: str | None = None,
        result: TestResult | None = None,
        refused: Refusal | None = None,
    ) -> Response:
        model = frame["model"]
        example = model["example"]
        flat = fields_of(example) if fields is None else fields
        as_json = not flat or page.query.get("input") == "json" or "request" in page.form
        key = page.form.get("key", "")
        builds = f"{frame['model_base']}/builds"
        build = await page.api.latest(builds, "model_builds", "build_number")
        history = await page.api.get(f"{frame['model_base']}/history", window="15m")
        return await self._router.reply(
            "models/show.html",
            page.viewer,
            **frame,
            traffic=await trio.to_thread.run_sync(overview_charts, history),
            build=build,
            deployment=await shown_deployment(page.api, frame["model_base"], model),
            build_state=state_of(build["status"]) if build else None,
            refresh=_REFRESH,
            done=_DONE.get(page.query.get("done", ""), ""),
            samples=_samples(model),
            example=None if example is None else text_of(example),
            example_output=None
            if model["example_output"] is None
            else text_of(model["example_output"]),
            fields=flat,
            as_json=as_json,
            typed=(text_of({} if example is None else example) if text is None else text),
            key=result.key if result and result.key else key,
            result=result,
            expected=_expected(model, text, result),
            test_refused=refused,
        )


def _expected(model: dict[str, Any], text: str | None, result: TestResult | None) -> bool | None:
    """Whether the answer to the example is the example of an answer; None where another request
    was tested, or there is none."""
    wanted = model["example_output"]
    if result is None or not result.success or wanted is None or text is None:
        return None
    if json.loads(text) != model["example"]:
        return None
    return is_expected(json.loads(result.response), wanted)


def _samples(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Calls to copy, by language."""
    example = {} if model["example"] is None else model["example"]
    key = "YOUR_MODEL_API_KEY" if model["auth_enabled"] else ""
    return list(
        zip(_LANGUAGES, samples(model["url"], model["access_key"], example, key), strict=True)
    )
