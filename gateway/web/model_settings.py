"""The Settings of a model: name, access, retention, its access key, its end."""

from typing import Any

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.form_errors import field_errors
from gateway.web.frames import model_frame
from gateway.web.models import ONE
from gateway.web.routing import PageRequest, PageRouter, redirect

SETTINGS = f"{ONE}/settings"
_FIELDS = ("name", "description", "visibility", "keep_builds", "keep_builds_days")
_AS_SITE = -1
_DONE = {
    "saved": "The settings are saved.",
    "regenerated": "The model has a new access key. Calls with the old one are refused.",
}


class ModelSettingsPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(SETTINGS, "show the settings of a model")
    async def show(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        return await self._show(page, project_id, model_id)

    @routing.post(
        SETTINGS,
        "change the settings of a model",
        audit="model.update",
        needs="project.edit",
        max_form=16384,
    )
    async def save(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        base = url("projects", project_id, "models", model_id)
        try:
            await page.api.patch(base, _changes(page))
        except Refusal as refused:
            return await self._show(page, project_id, model_id, refused)
        return redirect(f"{base}/settings?done=saved")

    @routing.post(
        f"{ONE}/regenerate-key",
        "replace the access key of a model",
        audit="model.regenerate_key",
        needs="project.edit",
    )
    async def regenerate(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        base = url("projects", project_id, "models", model_id)
        await page.api.post(f"{base}:regenerate_key")
        return redirect(f"{base}/settings?done=regenerated")

    @routing.post(f"{ONE}/delete", "delete a model", audit="model.delete", needs="project.edit")
    async def delete(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        base = url("projects", project_id, "models", model_id)
        name = (await page.api.get(base))["name"]
        if page.form.get("confirmed", "") != name:
            text = f"the model is not deleted: the name that was typed is not {name!r}"
            refused = Refusal("argument.invalid", text)
            return await self._show(page, project_id, model_id, refused)
        await page.api.delete(base)
        return redirect(url("projects", project_id))

    async def _show(
        self, page: PageRequest, project_id: str, model_id: str, refused: Refusal | None = None
    ) -> Response:
        frame = await model_frame(page, project_id, model_id)
        errors = field_errors(refused, _FIELDS)
        if refused is not None and any(errors.values()):
            refused = Refusal(
                refused.code, "the settings are not saved", advice="correct the marked fields"
            )
        return await self._router.reply(
            "models/settings.html",
            page.viewer,
            refused=refused,
            **frame,
            tab=f"{frame['model_base']}/settings",
            done=_DONE.get(page.query.get("done", ""), ""),
            errors=errors,
            typed=page.form if refused is not None and "name" in page.form else _typed(frame),
        )


def _typed(frame: dict[str, Any]) -> dict[str, str]:
    model = frame["model"]
    kept = {name: model[name] for name in ("keep_builds", "keep_builds_days")}
    return {
        **{name: model[name] for name in ("name", "description", "visibility")},
        **{name: "" if value == _AS_SITE else str(value) for name, value in kept.items()},
        **{name: "on" for name in ("auth_enabled", "request_log") if model[name]},
    }


def _changes(page: PageRequest) -> dict[str, Any]:
    form = page.form
    return {
        "name": form.get("name", "").strip(),
        "description": form.get("description", ""),
        "visibility": form.get("visibility", "private"),
        "auth_enabled": "auth_enabled" in form,
        "request_log": "request_log" in form,
        "keep_builds": _kept("keep_builds", form.get("keep_builds", "")),
        "keep_builds_days": _kept("keep_builds_days", form.get("keep_builds_days", "")),
    }


def _kept(field: str, text: str) -> int:
    if not text.strip():
        return _AS_SITE
    try:
        return int(text)
    except ValueError:
        problem = f"{field}: {text!r} is not a whole number"
        raise Refusal("argument.invalid", problem) from None
