"""/projects/.../models/new and .../builds/new: Create a Model, and Deploy New Build.

The form is the same, except for the model's name and access. [Check] and [Try] show what a build
would do, and change nothing.
"""

from typing import Any

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url, usable_gpus
from gateway.web.form_errors import field_errors
from gateway.web.frames import Values, model_frame, project_frame
from gateway.web.model_deployments import latest_deployment
from gateway.web.model_form import FIELDS, LABELS, ModelForm, errors_of
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.try_function import try_function

NEW = "/projects/<project_id>/models/new"
NEW_BUILD = "/projects/<project_id>/models/<model_id>/builds/new"
_MOST_FORM = 48 * 1024


class NewModelPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(NEW, "show the form that creates a model", needs="project.edit")
    async def new(self, page: PageRequest, project_id: str) -> Response:
        typed = ModelForm.empty(await _offered(page, project_id), page.query)
        return await self._reply(page, await _of_project(page, project_id), typed)

    @routing.post(
        NEW,
        "create a model and deploy it",
        audit="model.create",
        needs="project.edit",
        max_form=_MOST_FORM,
    )
    async def create(self, page: PageRequest, project_id: str) -> Response:
        typed = ModelForm(await _offered(page, project_id), page.form)

        async def deploy() -> str:
            body = {
                "name": page.form.get("name", "").strip(),
                "description": page.form.get("description", ""),
                "auth_enabled": "auth_enabled" in page.form,
                "auto_build_model": True,
                "auto_build_config": typed.build(),
            }
            model = await page.api.post(url("projects", project_id, "models"), body)
            return url("projects", project_id, "models", model["id"])

        return await self._submitted(page, project_id, typed, deploy, "")

    @routing.get(NEW_BUILD, "show the form that builds a model again", needs="project.edit")
    async def new_build(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await model_frame(page, project_id, model_id)
        before = await _last(page, project_id, model_id)
        offered = await _offered(page, project_id)
        typed = ModelForm.of_model(offered, frame["model"], *before)
        return await self._reply(page, _of_model(frame), typed)

    @routing.post(
        NEW_BUILD,
        "build a model and deploy it",
        audit="build.create",
        needs="project.edit",
        max_form=_MOST_FORM,
    )
    async def create_build(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        typed = ModelForm(await _offered(page, project_id), page.form)
        path = url("projects", project_id, "models", model_id)

        async def deploy() -> str:
            await page.api.post(f"{path}/builds", typed.build())
            return path

        return await self._submitted(page, project_id, typed, deploy, model_id)

    async def _submitted(
        self, page: PageRequest, project_id: str, typed: ModelForm, deploy: Any, model_id: str
    ) -> Response:
        """What a button of the form does: check, try or deploy."""
        act = page.form.get("act", "deploy")
        refused, checked, tried = None, None, None
        try:
            if act == "deploy":
                return redirect(await deploy())
            checked = await _check(page, project_id, typed)
            if act == "try" and checked["passed"]:
                name = page.form.get("try", "")
                with self._router.try_lines.printing(page.user.name, name) as show:
                    tried = await try_function(page, project_id, typed, show)
        except Refusal as error:
            refused = error
            if error.code == "build.refused":
                checked = await _check(page, project_id, typed)
        frame = (
            _of_model(await model_frame(page, project_id, model_id))
            if model_id
            else await _of_project(page, project_id)
        )
        shown = {"checked": checked, "tried": tried}
        return await self._reply(page, frame, typed, refused, **shown)

    async def _reply(
        self,
        page: PageRequest,
        frame: Values,
        typed: ModelForm,
        refused: Refusal | None = None,
        **shown: Any,
    ) -> Response:
        checked = shown.get("checked")
        errors = errors_of(refused, checked)
        # Check and Try show only their own part of the page, which names the fields, too.
        marked = [
            (LABELS[name], text) for name, text in field_errors(refused, FIELDS).items() if text
        ]
        if refused is not None and errors:
            text, advice = "the model is not deployed", "correct the marked fields"
            refused = Refusal(refused.code, text, headers=refused.headers, advice=advice)
        runtimes = await page.api.items("/runtimes", "runtimes")
        return await self._router.reply(
            "models/new.html",
            page.viewer,
            refused=refused,
            **{"checked": None, "tried": None, **shown},
            **frame,
            typed=typed,
            marked=marked,
            errors=dict.fromkeys(FIELDS, "") | errors,
            gpus=await usable_gpus(page.api),
            runtimes=_runtimes(runtimes, typed.value("runtime_identifier")),
        )


async def _of_project(page: PageRequest, project_id: str) -> Values:
    frame = await project_frame(page, project_id)
    base = frame["project_base"]
    more = {"layout": "projects/frame.html", "tab": f"{base}/models", "heading": "Create a Model"}
    return frame | more | {"action": f"{base}/models/new", "creates": True}


def _of_model(frame: Values) -> Values:
    base = frame["model_base"]
    more = {"layout": "models/frame.html", "tab": f"{base}/builds", "heading": "Deploy New Build"}
    return frame | more | {"action": f"{base}/builds/new", "creates": False}


async def _offered(page: PageRequest, project_id: str) -> list[dict[str, Any]]:
    """The files of the project that have functions."""
    found = await page.api.get(url("projects", project_id, "functions"))
    return list(found["files"])


async def _last(
    page: PageRequest, project_id: str, model_id: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last build of a model and its last deployment, {} where there is none."""
    base = url("projects", project_id, "models", model_id)
    build = await page.api.latest(f"{base}/builds", "model_builds", "build_number")
    deployment = await latest_deployment(page.api, base)
    return build or {}, deployment or {}


async def _check(page: PageRequest, project_id: str, typed: ModelForm) -> dict[str, Any]:
    checked: dict[str, Any] = await page.api.post(
        f"{url('projects', project_id)}:check", typed.checked()
    )
    return checked


def _runtimes(found: list[dict[str, Any]], chosen: str) -> list[tuple[str, str]]:
    """The options of the field Runtime."""
    ready = [each for each in found if each["status"] == "ready"]
    options = [("", "By the file: R, or the project's runtime")]
    for each in ready:
        name = each["runtime_identifier"]
        label = each["kernel"] if each["name"] == name else f"{each['kernel']}, {name}"
        options.append((name, label))
    if chosen and chosen not in dict(options):
        options.append((chosen, chosen))
    return options
