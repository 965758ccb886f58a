"""/: the first page. It shows what needs attention, the models, and what the user did lately.

A user who may view no model is greeted with three ways to the first prediction. Until the first
steps are done, a list shows which are left.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.home_items import Attention, attention, counts, own_entries
from gateway.web.routing import KEYS, PageRequest, PageRouter, redirect
from gateway.web.states import Tone, model_state

_MOST = 1000  # models that are looked at
_MODELS, _ENTRIES = 8, 8  # rows
_READ = 40  # entries, of which some are left out
# With more models than this, the list of first steps is not shown.
_FEW = 3
_REFRESH = 2.0  # seconds; replicas become ready without a change in the database
_EXAMPLE = {
    "name": "predict-petal-width",
    "description": "The width of an iris petal from its length.",
    "auto_build_model": True,
    "auto_build_config": {
        "file_path": "predict.py",
        "function_name": "predict",
        "comment": "example",
        "example": {"petal_length": 5.4},
        "auto_deploy_model": True,
        "auto_deployment_config": {"replicas": 1},
    },
}
_PROJECT = "iris"


class FirstStep(NamedTuple):
    """A step to the first prediction; `path` is where it is done, "" where it cannot be yet."""

    text: str
    done: bool
    path: str = ""


class HomePages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get("/", "show what needs attention, models and recent activity")
    async def show(self, page: PageRequest) -> Response:
        return await self._show(page)

    @routing.post(
        "/first-model", "create the example project and deploy its model", audit="model.create"
    )
    async def deploy_example(self, page: PageRequest) -> Response:
        try:
            project = await _example_project(page)
            model = await page.api.post(url("projects", project, "models"), _EXAMPLE)
        except Refusal as refused:
            return await self._show(page, refused)
        return redirect(url("projects", project, "models", model["id"]))

    async def _show(self, page: PageRequest, refused: Refusal | None = None) -> Response:
        found = await page.api.get("/models", page_size=_MOST, sort="-updated_at")
        models: list[dict[str, Any]] = found["models"]
        site = await page.api.part(_shown_of_site, "/site")
        activity = url("users", page.user.name, "activity")
        entries = (await page.api.get(activity, page_size=_READ))["entries"]
        return await self._router.reply(
            "home.html",
            page.viewer,
            refused=refused,
            here="/",
            site=site,
            attention=[*attention(models), *_of_site(site)],
            counts=counts(models),
            models=[(model, model_state(model)) for model in models[:_MODELS]],
            more=len(models) > _MODELS,
            steps=await _first_steps(page, models) if len(models) <= _FEW else [],
            entries=own_entries(entries)[:_ENTRIES],
            refresh=_REFRESH,
        )


def _shown_of_site(site: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of the site, of which administrators are told more."""
    return {
        **{name: site[name] for name in ("may_create_projects", "may_create_models", "url")},
        "disk": site["disk"]["level"] if "disk" in site else "ok",
        "set_aside": len(site.get("set_aside", ())),
    }


def _of_site(site: dict[str, Any]) -> list[Attention]:
    """What an administrator must look at."""
    found = []
    if site["disk"] != "ok":
        tone: Tone = "bad" if site["disk"] == "full" else "warn"
        text = "Free space on the disk of the data folder."
        found.append(Attention("Disk", "/admin/security", f"Disk {site['disk']}", tone, text))
    if site["set_aside"]:
        text = f"{site['set_aside']} records are set aside as damaged."
        found.append(Attention("Data folder", "/admin/security", "Damaged", "bad", text))
    return found


async def _first_steps(page: PageRequest, models: Sequence[dict[str, Any]]) -> list[FirstStep]:
    """The steps to the first prediction; none when all are done."""
    projects = (await page.api.get("/projects", page_size=1))["projects"]
    first = url("projects", models[0]["project"]["id"], "models", models[0]["id"]) if models else ""
    deployed = [model for model in models if model["status"] == "deployed"]
    keys = await page.api.get(url("users", page.user.name, "model_keys"), page_size=1)
    new_model = f"{url('projects', projects[0]['id'])}/models/new" if projects else ""
    steps = [
        FirstStep("Create a project", bool(projects), "/projects/new"),
        FirstStep("Deploy a model", bool(deployed), first or new_model),
        FirstStep("Call it: Test Model", await _any_called(page, models), first),
        FirstStep("Create a key for programs", bool(keys["model_keys"]), KEYS),
    ]
    return [] if all(step.done for step in steps) else steps


async def _any_called(page: PageRequest, models: Sequence[dict[str, Any]]) -> bool:
    for model in models:
        base = url("projects", model["project"]["id"], "models", model["id"])
        if await page.api.part(_has_requests, f"{base}/history", window="14d", only="total"):
            return True
    return False


def _has_requests(history: dict[str, Any]) -> bool:
    return bool(history["total"]["requests"])


async def _example_project(page: PageRequest) -> str:
    """The id of the user's own project with the example, which is created unless it exists."""
    own = f"{_PROJECT}-{page.user.name}"
    for name in (_PROJECT, own):
        try:
            made = await page.api.post("/projects", {"name": name, "template": "python"})
            return str(made["id"])
        except Refusal as refused:
            if refused.code != "name.taken":
                raise
        found = await page.api.get("/projects", search_filter=json.dumps({"name": name}))
        for project in found["projects"]:
            if project["name"] == name and project["owner"]["username"] == page.user.name:
                return str(project["id"])
    raise Refusal("name.taken", f"projects {_PROJECT!r} and {own!r} exist already")
