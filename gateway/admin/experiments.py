"""Experiments: scripts that are run once, what they print, track and keep."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import trio
from quart import Response, request

import store
from gateway.admin import log_stream, tree
from gateway.admin.downloads import download as sent_file
from gateway.admin.downloads import log_text
from gateway.admin.lookup import Lookup
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import AddToProject, CreateExperiment, Json, experiment_json, scaled
from gateway.control import Control
from gateway.control.audit.audit_log import annotate
from gateway.control.experiments.comparison import MOST_EXPERIMENTS, TURN, Comparison
from gateway.control.experiments.experiments import NewExperiment
from gateway.errors import Refusal
from gateway.identity.principal import principal
from store import Experiment


def add_routes(routing: Router, control: Control) -> None:
    database, seek, experiments = control.context.database, Lookup(control), control.experiments

    async def as_json(experiment: Experiment) -> Json:
        if experiment.status == "running":
            latest = {p.key: p.value for p in await experiments.points(experiment)}
        else:
            latest = experiment.metrics
        return experiment_json(experiment, latest, experiments.waiting_for(experiment.id))

    async def everywhere() -> Json:
        seen = {project.id for project in await seek.projects()}
        listed = await database.read(store.experiments.list_all)
        return await page("experiments", [await as_json(e) for e in listed if e.project_id in seen])

    async def index(project_id: str) -> Json:
        listed = await database.read(store.experiments.list_all, project_id)
        return await page("experiments", [await as_json(e) for e in listed])

    async def create(project_id: str, asked: CreateExperiment) -> Json:
        project = await seek.project(project_id)
        defaults = control.models.defaults
        new = NewExperiment(
            script=asked.script,
            arguments=asked.arguments,
            kernel=asked.runtime_identifier or asked.kernel,
            comment=asked.comment,
            cpu_millicores=scaled("cpu", asked.cpu, 1000, defaults.cpu_millicores),
            memory_mb=scaled("memory", asked.memory, 1024, defaults.memory_mb),
            network=asked.network,
        )
        return await as_json(await experiments.create(project, new, principal().user))

    async def show(project_id: str, experiment_id: str) -> Json:
        return await as_json(await seek.experiment(project_id, experiment_id))

    async def delete(project_id: str, experiment_id: str) -> Json:
        await experiments.delete(await seek.experiment(project_id, experiment_id))
        return {}

    async def stop(project_id: str, experiment_id: str) -> Json:
        found = await seek.experiment(project_id, experiment_id)
        return await as_json(await experiments.stop(found))

    async def log(project_id: str, experiment_id: str) -> Response:
        experiment = await seek.experiment(project_id, experiment_id)
        if request.accept_mimetypes.best == "text/event-stream":
            return log_stream.follow_experiment(control, experiment)
        return log_text(control.context.data.experiment_log(experiment.id))

    async def metrics(project_id: str, experiment_id: str) -> Json:
        experiment = await seek.experiment(project_id, experiment_id)
        return {"metrics": await experiments.points(experiment)}

    async def compare(project_id: str) -> Response:
        chosen = _chosen(await database.read(store.experiments.list_all, project_id))
        comparison = Comparison()
        for each in chosen:
            comparison.begin()
            points = await experiments.points(each)
            for first in range(0, len(points), TURN):
                comparison.add(points[first : first + TURN])
                await trio.lowlevel.checkpoint()
        shown = [msgspec.json.encode(await as_json(each)) for each in chosen]
        return Response(_compared(shown, comparison), content_type="application/json")

    async def outputs(project_id: str, experiment_id: str) -> Path:
        """Where its files are; they can be read when nobody writes any more."""
        experiment = await seek.experiment(project_id, experiment_id)
        if experiment.ended_at is None:
            raise Refusal("state.conflict", f"experiment {experiment.number} has not ended yet")
        return control.context.data.experiment(experiment.id).outputs

    async def files(project_id: str, experiment_id: str) -> Json:
        folder = await outputs(project_id, experiment_id)
        return await page("files", await trio.to_thread.run_sync(tree.all_files, folder))

    async def download(project_id: str, experiment_id: str, path: str) -> Response:
        folder = await outputs(project_id, experiment_id)
        return await sent_file(lambda: tree.opened(folder, path))

    async def add_to_project(project_id: str, experiment_id: str, asked: AddToProject) -> Json:
        folder = await outputs(project_id, experiment_id)
        project = await seek.project(project_id)
        await control.context.disk.check_free("a file")
        file = await trio.to_thread.run_sync(tree.opened, folder, asked.path)
        with file:
            more = os.fstat(file.fileno()).st_size
            await control.context.project_usage.admit(project, "a file", more)
            root, target = Path(project.path), asked.target or asked.path
            await trio.to_thread.run_sync(tree.save, file, root, target)
        control.context.project_usage.add(project, more)
        annotate(f"file {asked.path}")
        return {}

    many = "/projects/<project_id>/experiments"
    one = f"{many}/<experiment_id>"
    add = routing.add
    add("GET", "/experiments", "any", "the experiments of all projects", everywhere,
        query=PAGED)  # fmt: skip
    add("GET", many, "project.view", "the experiments of a project", index, query=PAGED)
    add("POST", many, "project.edit", "run a script", create, CreateExperiment,
        action="experiment.create")  # fmt: skip
    add("GET", f"{many}:compare", "project.view",
        "up to 20 side by side; `ids`, by default the latest", compare, query=("ids",),
        streams=True)  # fmt: skip
    add("GET", one, "project.view", "one experiment", show)
    add("DELETE", one, "project.edit", "delete it with its files", delete,
        action="experiment.delete")  # fmt: skip
    add("POST", f"{one}:stop", "project.edit", "end its script", stop, action="experiment.stop")
    add("GET", f"{one}/log", "project.view", "what it printed; as events: live", log,
        gives=log_stream.TEXT, streams=True)  # fmt: skip
    add("GET", f"{one}/metrics", "project.view", "every value that it tracked", metrics)
    add("GET", f"{one}/files", "project.view", "the files that it kept", files, query=PAGED)
    add("GET", f"{one}/files/<path:path>", "project.view", "one of them", download,
        gives=("application/octet-stream",), streams=True)  # fmt: skip
    add("POST", f"{one}:add_to_project", "project.edit", "copy one of them into the project",
        add_to_project, AddToProject, action="experiment.add_to_project")  # fmt: skip


async def _compared(shown: list[bytes], comparison: Comparison) -> AsyncIterator[bytes]:
    yield b'{"experiments":[%b],' % b",".join(shown)
    for part in comparison.parts():
        yield part
        await trio.lowlevel.checkpoint()
    yield b"}"


def _chosen(listed: list[Experiment]) -> list[Experiment]:
    """Those that the query names by id or number, in its order; by default the latest."""
    wanted = [each for each in request.args.get("ids", "").split(",") if each]
    if len(wanted) > MOST_EXPERIMENTS:
        raise Refusal("argument.invalid", f"ids: {MOST_EXPERIMENTS} at most can be compared")
    if not wanted:
        return listed[-MOST_EXPERIMENTS:]
    known = {str(each.number): each for each in listed} | {each.id: each for each in listed}
    for each in wanted:
        if each not in known:
            raise store.NotFound("experiment", each)
    return [known[each] for each in wanted]
