"""/projects/ID/experiments: run scripts, watch them, see what they made, compare them."""

from collections.abc import Mapping

import trio
from quart import Response, request

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.web import routing
from gateway.web.api import url, usable_gpus
from gateway.web.experiment_comparison import ASKED, ComparedRuns, drawn
from gateway.web.experiment_values import (
    KINDS,
    PROFILES,
    asked_run,
    chosen_metrics,
    duration,
    kernels,
    preview,
    text_of,
)
from gateway.web.form_errors import field_errors
from gateway.web.frames import Values, project_frame
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter, redirect
from gateway.web.states import state_of

MANY = "/projects/<project_id>/experiments"
NEW = f"{MANY}/new"
ONE = f"{MANY}/<experiment_id>"
_COLUMNS = (
    Column("Run", "experiment_number"),
    Column("Script", "script"),
    Column("Arguments"),
    Column("Kernel", "kernel"),
    Column("Submitter", "creator.username"),
    Column("Created", "created_at"),
    Column("Status", "status"),
    Column("Duration", number=True),
    Column("Comment", "comment"),
)
_FIELDS = ("script", "arguments", "kernel", "profile", "nvidia_gpus", "comment")
_DONE = {
    "added": "The chosen files are in the project.",
    "stopped": "The experiment is stopped.",
    "deleted": "The experiment is deleted.",
}
# What the form suggests, of the first files.
_MOST_FILES, _SCRIPTS = 200, (".py", ".R", ".r")
_REFRESH = 2.0  # seconds; metrics of a running script are only in memory


class ExperimentPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the experiments of a project")
    async def index(self, page: PageRequest, project_id: str) -> Response:
        frame = await self._frame(page, project_id)
        listing = Listing(page.query, field="script", sort="-experiment_number")
        found = await page.api.get(frame["base"], **listing.parameters)
        runs = found["experiments"]
        metrics = chosen_metrics(runs)
        return await self._router.reply(
            "experiments/index.html",
            page.viewer,
            **frame,
            columns=(*_COLUMNS, *(Column(key, number=True) for key in metrics)),
            listing=listing.shown(found),
            rows=[
                (
                    run,
                    state_of(run["status"]),
                    duration(run, page.now),
                    [(key, text_of(run["metrics"].get(key))) for key in metrics],
                )
                for run in runs
            ],
            done=_DONE.get(page.query.get("done", ""), ""),
            refresh=_REFRESH,
        )

    @routing.get(NEW, "show the form that runs an experiment", needs="project.edit")
    async def new(self, page: PageRequest, project_id: str) -> Response:
        script = page.query.get("script", "")
        return await self._form(page, project_id, {"script": script, "profile": PROFILES[0][0]})

    @routing.post(
        NEW,
        "run an experiment",
        audit="experiment.create",
        needs="project.edit",
        max_form=16 * 1024,
    )
    async def create(self, page: PageRequest, project_id: str) -> Response:
        given = {name: page.form.get(name, "") for name in _FIELDS}
        base = url("projects", project_id, "experiments")
        try:
            made = await page.api.post(base, asked_run(given))
        except Refusal as refused:
            return await self._form(page, project_id, given, refused)
        return redirect(f"{base}{url(made['id'])}")

    @routing.get(f"{MANY}/compare", "compare experiments of a project")
    async def compare(self, page: PageRequest, project_id: str) -> Response:
        frame = await self._frame(page, project_id)
        ids = ",".join(request.args.getlist("ids"))
        found = await page.api.get_as(ComparedRuns, f"{frame['base']}:compare", ids=ids, **ASKED)
        return await self._router.reply(
            "experiments/compare.html",
            page.viewer,
            **frame,
            runs=[
                (run, state_of(run["status"]), duration(run, page.now)) for run in found.experiments
            ],
            **await trio.to_thread.run_sync(drawn, found),
        )

    @routing.get(ONE, "show an experiment")
    async def show(self, page: PageRequest, project_id: str, experiment_id: str) -> Response:
        return await self._show(page, project_id, experiment_id)

    @routing.get(f"{ONE}/session", "show the live log of an experiment")
    async def session(self, page: PageRequest, project_id: str, experiment_id: str) -> Response:
        frame = await self._frame(page, project_id, experiment_id)
        return await self._router.reply("experiments/session.html", page.viewer, **frame)

    @routing.get(f"{ONE}/build", "show how the environment of an experiment was made")
    async def build(self, page: PageRequest, project_id: str, experiment_id: str) -> Response:
        frame = await self._frame(page, project_id, experiment_id)
        return await self._router.reply("experiments/build.html", page.viewer, **frame)

    @routing.get(f"{ONE}/file", "show a file of an experiment")
    async def file(self, page: PageRequest, project_id: str, experiment_id: str) -> Response:
        frame = await self._frame(page, project_id, experiment_id)
        path = page.query.get("path", "")
        shown = KINDS.get(path.rpartition(".")[2].lower(), "text")
        parts = path.split("/")
        found: Values = {}
        if shown != "image":
            found = await page.api.get(f"{frame['experiment_base']}/text{url(*parts)}")
        return await self._router.reply(
            "experiments/file.html",
            page.viewer,
            **frame,
            path=path,
            source=f"{API_PREFIX}{frame['experiment_base']}/files{url(*parts)}",
            **preview(shown, found),
        )

    @routing.post(
        f"{ONE}/add-to-project",
        "copy files of an experiment into the project",
        audit="experiment.add_to_project",
        needs="project.edit",
    )
    async def add(self, page: PageRequest, project_id: str, experiment_id: str) -> Response:
        base = url("projects", project_id, "experiments", experiment_id)
        paths = [path for name, path in page.form.items() if name.startswith("path")]
        try:
            if not paths:
                raise Refusal("argument.invalid", "choose a file of the output")
            for path in paths:
                await page.api.post(f"{base}:add_to_project", {"path": path})
        except Refusal as refused:
            return await self._show(page, project_id, experiment_id, refused)
        return redirect(f"{base}?done=added")

    @routing.post(
        f"{ONE}/stop", "stop an experiment", audit="experiment.stop", needs="project.edit"
    )
    async def stop(self, page: PageRequest, project_id: str, experiment_id: str) -> Response:
        base = url("projects", project_id, "experiments", experiment_id)
        try:
            await page.api.post(f"{base}:stop")
        except Refusal as refused:
            return await self._show(page, project_id, experiment_id, refused)
        return redirect(f"{base}?done=stopped")

    @routing.post(
        f"{ONE}/delete", "delete an experiment", audit="experiment.delete", needs="project.edit"
    )
    async def delete(self, page: PageRequest, project_id: str, experiment_id: str) -> Response:
        base = url("projects", project_id, "experiments")
        one = f"{base}{url(experiment_id)}"
        try:
            name = f"Run-{(await page.api.get(one))['experiment_number']}"
            if page.form.get("confirmed") != name:
                raise Refusal("argument.invalid", f"type {name} to confirm")
            await page.api.delete(one)
        except Refusal as refused:
            return await self._show(page, project_id, experiment_id, refused)
        return redirect(f"{base}?done=deleted")

    async def _show(
        self,
        page: PageRequest,
        project_id: str,
        experiment_id: str,
        refused: Refusal | None = None,
    ) -> Response:
        frame = await self._frame(page, project_id, experiment_id)
        files = []
        if frame["experiment"]["ended_at"]:
            base = frame["experiment_base"]
            files = await page.api.items(f"{base}/files", "files")
        return await self._router.reply(
            "experiments/show.html",
            page.viewer,
            refused=refused,
            **frame,
            files=[each for each in files if not each["is_dir"]],
            done=_DONE.get(page.query.get("done", ""), ""),
            refresh=_REFRESH,
        )

    async def _form(
        self,
        page: PageRequest,
        project_id: str,
        given: Mapping[str, str],
        refused: Refusal | None = None,
    ) -> Response:
        frame = await self._frame(page, project_id)
        runtimes = await page.api.items("/runtimes", "runtimes")
        given = {**dict.fromkeys(_FIELDS, ""), **given}
        return await self._router.reply(
            "experiments/new.html",
            page.viewer,
            refused=refused,
            **frame,
            given=given,
            errors=field_errors(refused, _FIELDS),
            kernels=kernels(runtimes),
            profiles=PROFILES,
            scripts=await self._scripts(page, frame),
            gpus=await usable_gpus(page.api),
        )

    async def _scripts(self, page: PageRequest, frame: Values) -> list[str]:
        """The scripts at the project's root, which the form suggests."""
        try:
            found = await page.api.get(f"{frame['project_base']}/files", page_size=_MOST_FILES)
        except Refusal:  # its files are still being copied, or its folder was moved
            return []
        return [each["path"] for each in found["files"] if each["path"].endswith(_SCRIPTS)]

    async def _frame(self, page: PageRequest, project_id: str, experiment_id: str = "") -> Values:
        """The values of all pages of experiments, and those of one."""
        frame = await project_frame(page, project_id)
        base = f"{frame['project_base']}/experiments"
        frame |= {"tab": base, "base": base}
        if not experiment_id:
            return frame
        one = f"{base}{url(experiment_id)}"
        experiment = await page.api.get(one)
        return frame | {
            "experiment": experiment,
            "experiment_base": one,
            "state": state_of(experiment["status"]),
            "log": f"{API_PREFIX}{one}/log",
            "duration": duration(experiment, page.now),
            "part": request.path.rstrip("/"),
            "parts": [(one, "Overview"), (f"{one}/session", "Session"), (f"{one}/build", "Build")],
        }
