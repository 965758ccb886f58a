"""The builds of a model: the list, one build with its steps and its log, its packages, and what
changed since another build."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from quart import Response

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.chart_scales import number
from gateway.web.frames import Values, model_frame
from gateway.web.listing import Column, Listing
from gateway.web.live import SELDOM
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.states import UNFINISHED_BUILD, build_state

MANY = "/projects/<project_id>/models/<model_id>/builds"
ONE = f"{MANY}/<build_id>"
_COLUMNS = (
    Column("Build", "build_number"),
    Column("Status", "status"),
    Column("File", "file_path"),
    Column("Function", "function_name"),
    Column("Kernel", "kernel"),
    Column("Runtime", "runtime_identifier"),
    Column("Created By", "creator.username"),
    Column("Created At", "created_at"),
    Column("Comment", "comment"),
    Column("Size", number=True),
    Column("Actions"),
)
_LOCK_COLUMNS = (Column("Package"), Column("Version"), Column("Source"))
# Seconds until a build that is being made looks different.
_MOVES = 1.0
# Builds among which an earlier one is looked for.
_RECENT = 100
_DONE = {"deleted": "The build is deleted.", "cancelled": "The build is cancelled."}


class BuildPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the builds of a model")
    async def index(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await model_frame(page, project_id, model_id)
        path = f"{frame['model_base']}/builds"
        listing = Listing(page.query, field="comment", sort="-build_number")
        found = await page.api.get(path, **listing.parameters)
        recent = await recent_builds(page, path)
        latest = recent[0] if recent else None
        return await self._router.reply(
            "builds/index.html",
            page.viewer,
            **frame,
            tab=path,
            columns=_COLUMNS,
            listing=listing.shown(found),
            builds=[(each, build_state(each), _size(each)) for each in found["model_builds"]],
            latest=latest and _progress(page, latest, recent, path),
            done=_DONE.get(page.query.get("done", ""), ""),
            refresh=_MOVES if latest and _is_unfinished(latest) else SELDOM,
        )

    @routing.get(ONE, "show a build, its steps and its log")
    async def show(
        self, page: PageRequest, project_id: str, model_id: str, build_id: str
    ) -> Response:
        return await self._show(page, project_id, model_id, build_id)

    async def _show(
        self,
        page: PageRequest,
        project_id: str,
        model_id: str,
        build_id: str,
        refused: Refusal | None = None,
    ) -> Response:
        frame = await _build_frame(page, project_id, model_id, build_id)
        build = frame["build"]
        deployments = await page.api.items(
            f"{frame['build_base']}/deployments", "model_deployments"
        )
        return await self._router.reply(
            "builds/show.html",
            page.viewer,
            **frame | {"build_page": frame["build_base"]},
            size=_size(build),
            progress=_progress(page, build, frame["recent"], frame["builds_base"]),
            deployments=deployments,
            done=_DONE.get(page.query.get("done", ""), ""),
            refused=refused,
            refresh=_MOVES if _is_unfinished(build) else SELDOM,
        )

    @routing.get(f"{ONE}/packages", "show the packages of a build")
    async def packages(
        self, page: PageRequest, project_id: str, model_id: str, build_id: str
    ) -> Response:
        frame = await _build_frame(page, project_id, model_id, build_id)
        lock = None
        if frame["build"]["lock"]:
            lock = await page.api.get(f"{frame['build_base']}/lock")
        return await self._router.reply(
            "builds/packages.html", page.viewer, **frame, columns=_LOCK_COLUMNS, lock=lock
        )

    @routing.get(f"{ONE}/changes", "show what changed since another build")
    async def changes(
        self, page: PageRequest, project_id: str, model_id: str, build_id: str
    ) -> Response:
        frame = await _build_frame(page, project_id, model_id, build_id)
        since = page.query.get("since", "") or frame["previous"]["id"]
        problem, changed, lines = None, None, None
        file = page.query.get("file", "")
        if since:
            try:
                path = f"{frame['builds_base']}{url(since)}/diff{url(build_id)}"
                changed = await page.api.get(path)
                if file:
                    lines = await page.api.get(f"{path}/text/{quote(file)}")
            except Refusal as refused:
                problem = refused
        others = [each for each in frame["recent"] if each["id"] != build_id]
        return await self._router.reply(
            "builds/changes.html",
            page.viewer,
            **frame,
            since=since,
            others=others,
            changed=changed,
            lines=lines,
            problem=problem,
        )

    @routing.post(f"{ONE}/cancel", "cancel a build", audit="build.cancel", needs="project.edit")
    async def cancel(
        self, page: PageRequest, project_id: str, model_id: str, build_id: str
    ) -> Response:
        path = url("projects", project_id, "models", model_id, "builds", build_id)
        try:
            await page.api.post(f"{path}:cancel")
        except Refusal as refused:
            return await self._show(page, project_id, model_id, build_id, refused)
        return redirect(f"{path}?done=cancelled")

    @routing.post(f"{ONE}/delete", "delete a build", audit="build.delete", needs="project.edit")
    async def delete(
        self, page: PageRequest, project_id: str, model_id: str, build_id: str
    ) -> Response:
        builds = url("projects", project_id, "models", model_id, "builds")
        try:
            await page.api.delete(builds + url(build_id))
        except Refusal as refused:
            return await self._show(page, project_id, model_id, build_id, refused)
        return redirect(f"{builds}?done=deleted")


async def recent_builds(page: PageRequest, path: str) -> list[dict[str, Any]]:
    """The latest builds of a model, the last one first."""
    found = await page.api.get(path, sort="-build_number", page_size=_RECENT)
    return list(found["model_builds"])


async def _build_frame(page: PageRequest, project_id: str, model_id: str, build_id: str) -> Values:
    """What the pages of a build have."""
    frame = await model_frame(page, project_id, model_id)
    builds = f"{frame['model_base']}/builds"
    base = builds + url(build_id)
    build = await page.api.get(base)
    recent = await recent_builds(page, builds)
    pages = [(base, "Log"), (f"{base}/packages", "Packages"), (f"{base}/changes", "Changes")]
    return {
        **frame,
        "tab": builds,
        "builds_base": builds,
        "build_base": base,
        "build": build,
        "build_state": build_state(build),
        "build_pages": pages,
        "build_page": page.path.partition("?")[0],
        "recent": recent,
        "previous": _built_before(build, recent) or {"id": "", "build_number": 0},
    }


def _is_unfinished(build: dict[str, Any]) -> bool:
    return build["status"] in UNFINISHED_BUILD


def _built_before(build: dict[str, Any], recent: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The last build before this one that succeeded."""
    number = build["build_number"]
    earlier = (each for each in recent if each["build_number"] < number)
    return next((each for each in earlier if each["status"] == "built"), None)


def _size(build: dict[str, Any]) -> str:
    return "" if build["size_bytes"] is None else number(build["size_bytes"], "B")


def _progress(
    page: PageRequest, build: dict[str, Any], recent: list[dict[str, Any]], builds: str
) -> Values:
    """A build with its steps as a page shows them; `builds` is the path of the list. The
    estimate of each step is what it took in the last build that succeeded."""
    before = _built_before(build, recent)
    estimates = {step["name"]: step["seconds"] for step in before["steps"]} if before else {}
    base = builds + url(build["id"])
    return {
        "build": build,
        "state": build_state(build),
        "unfinished": _is_unfinished(build),
        "log": f"{API_PREFIX}{base}/log",
        "path": base,
        "steps": [_step(step, estimates.get(step["name"]), page.now) for step in build["steps"]],
    }


def _step(step: dict[str, Any], estimate: float | None, now: Callable[[], datetime]) -> Values:
    seconds, last = step["seconds"], ""
    if step["state"] == "running" and step["started_at"]:
        seconds = (now() - datetime.fromisoformat(step["started_at"])).total_seconds()
        if estimate:
            about = _seconds(estimate)
            last = f" of about {about}" if seconds <= estimate else f", {about} last time"
    return {
        "title": step["name"].replace("_", " ").capitalize(),
        "state": step["state"],
        "took": "" if seconds is None else _seconds(seconds),
        "estimate": last,
    }


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
