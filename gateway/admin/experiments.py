"""Experiments: scripts that run once, with their logs, metrics and files."""

import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from quart import Response, request

from gateway.admin import file_operations, log_stream
from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.downloads import download, log_text
from gateway.admin.routing.paging import PAGED, Columns, page, page_of
from gateway.admin.routing.parameters import limit, text
from gateway.admin.schemas import Amount, Json, creator_json, failure_json, lock_json, scaled
from gateway.control import Control
from gateway.control.audit.audit_log import annotate
from gateway.control.experiments.comparison import (
    BATCH,
    MOST_DRAWN,
    MOST_EXPERIMENTS,
    MOST_KEYS,
    Comparison,
)
from gateway.control.experiments.experiments import NewExperiment
from gateway.control.records import Experiment, ListPart
from gateway.control.views import ExperimentView
from gateway.errors import Refusal
from gateway.identity.principal import principal
from workers import Network

MANY = "/projects/<project_id>/experiments"
ONE = f"{MANY}/<experiment_id>"
_TEXTS = {
    "script": "script",
    "creator.username": "creator",
    "comment": "comment",
    "runtime_identifier": "interpreter",
}
_COLUMNS = Columns(
    {
        **_TEXTS,
        "experiment_number": "number",
        "status": "status",
        "created_at": "created_at",
        "started_at": "started_at",
        "ended_at": "ended_at",
    },
    _TEXTS,
)
# Bytes of a text file that are shown.
_MOST_TEXT = 64 * 1024
_NUMBER = re.compile("[1-9][0-9]{0,17}")


class CreateExperiment(msgspec.Struct, kw_only=True):
    """`script` is a file of the project; `cpu` in cores, `memory` in GB. New and changed files that
    match one of the patterns `keep` are kept; one without a slash is for names."""

    script: str
    arguments: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    kernel: str = ""
    runtime_identifier: str = ""
    comment: str = ""
    cpu: float | None = None
    memory: float | None = None
    nvidia_gpus: Amount = 0
    network: Network = "machine"
    keep: Annotated[list[str], msgspec.Meta(max_length=100)] = msgspec.field(
        default_factory=lambda: ["*"]
    )
    fresh: bool = False


class AddToProject(msgspec.Struct, kw_only=True):
    """`path` is that of a file of the experiment. Without a `target` the copy in the project has
    the same path."""

    path: str
    target: str = ""


class ExperimentRoutes:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._experiments = control.experiments
        self._records = control.records
        self._views = control.views
        self._lookup = Lookup(control)

    @route.get("/experiments", "any", "list the experiments of all projects", query=PAGED)
    async def list_all(self) -> Json:
        seen = {project.id for project in await self._lookup.visible_projects()}
        found = [each for each in await self._records.experiments() if each.project_id in seen]
        return await page("experiments", [await self._json(each) for each in found])

    @route.get(MANY, "project.view", "list the experiments of a project", query=PAGED)
    async def list(self, project_id: str) -> Json:
        return await page_of(
            "experiments", _COLUMNS, partial(self._records.experiments, project_id), self._items
        )

    @route.post(MANY, "project.edit", "run a script", audit="experiment.create")
    async def create(self, project_id: str, body: CreateExperiment) -> Json:
        project = await self._lookup.project(project_id)
        defaults = self._control.models.defaults
        new = NewExperiment(
            script=body.script,
            arguments=body.arguments,
            kernel=body.runtime_identifier or body.kernel,
            comment=body.comment,
            cpu_millicores=scaled("cpu", body.cpu, 1000, defaults.cpu_millicores),
            memory_mb=scaled("memory", body.memory, 1024, defaults.memory_mb),
            nvidia_gpus=body.nvidia_gpus,
            network=body.network,
            keep=body.keep,
            fresh=body.fresh,
        )
        return await self._json(await self._experiments.create(project, new, principal().user))

    @route.get(
        f"{MANY}:compare",
        "project.view",
        f"compare up to {MOST_EXPERIMENTS} experiments: those in `ids`, or the latest; at most"
        " `series` metrics over time, of at most `points` values each",
        query=("ids", "series", "points"),
        streams=True,
    )
    async def compare(self, project_id: str) -> Response:
        most_series = limit("series", MOST_KEYS, most=MOST_KEYS)
        most_drawn = limit("points", MOST_DRAWN, least=2, most=MOST_DRAWN)
        chosen = await self._chosen(project_id)
        comparison = Comparison()
        for each in chosen:
            comparison.begin()
            points = await self._experiments.points(each)
            points.reverse()
            while points:  # freed in turns, too
                comparison.add(points[: -BATCH - 1 : -1])
                del points[-BATCH:]
                await trio.lowlevel.checkpoint()
        shown = [msgspec.json.encode(await self._json(each)) for each in chosen]
        parts = comparison.parts(most_series, most_drawn)
        return Response(_compared(shown, parts), content_type="application/json")

    @route.get(ONE, "project.view", "show an experiment")
    async def show(self, project_id: str, experiment_id: str) -> Json:
        return await self._json(await self._lookup.experiment(project_id, experiment_id))

    @route.delete(
        ONE, "project.edit", "delete an experiment and its files", audit="experiment.delete"
    )
    async def delete(self, project_id: str, experiment_id: str) -> Json:
        await self._experiments.delete(await self._lookup.experiment(project_id, experiment_id))
        return {}

    @route.post(f"{ONE}:stop", "project.edit", "stop an experiment", audit="experiment.stop")
    async def stop(self, project_id: str, experiment_id: str) -> Json:
        found = await self._lookup.experiment(project_id, experiment_id)
        return await self._json(await self._experiments.stop(found))

    @route.get(
        f"{ONE}/log",
        "project.view",
        "show the log of an experiment; live as server-sent events",
        media_types=log_stream.MEDIA_TYPES,
        streams=True,
    )
    async def log(self, project_id: str, experiment_id: str) -> Response:
        experiment = await self._lookup.experiment(project_id, experiment_id)
        if request.accept_mimetypes.best == "text/event-stream":
            return log_stream.follow_experiment(self._control, experiment)
        return log_text(self._views.experiment_log(experiment))

    @route.get(f"{ONE}/metrics", "project.view", "list the metrics of an experiment")
    async def metrics(self, project_id: str, experiment_id: str) -> Json:
        experiment = await self._lookup.experiment(project_id, experiment_id)
        return {"metrics": await self._experiments.points(experiment)}

    @route.get(f"{ONE}/files", "project.view", "list the files of an experiment", query=PAGED)
    async def files(self, project_id: str, experiment_id: str) -> Json:
        folder = await self._outputs(project_id, experiment_id)
        return await page("files", await trio.to_thread.run_sync(file_operations.all_files, folder))

    @route.get(
        f"{ONE}/files/<path:path>",
        "project.view",
        "download a file of an experiment",
        media_types=("application/octet-stream",),
        streams=True,
    )
    async def file(self, project_id: str, experiment_id: str, path: str) -> Response:
        folder = await self._outputs(project_id, experiment_id)
        return await download(lambda: file_operations.opened(folder, path), path)

    @route.get(
        f"{ONE}/text/<path:path>",
        "project.view",
        "show the beginning of a text file of an experiment",
    )
    async def text(self, project_id: str, experiment_id: str, path: str) -> Json:
        folder = await self._outputs(project_id, experiment_id)
        return await trio.to_thread.run_sync(_beginning, folder, path)

    @route.post(
        f"{ONE}:add_to_project",
        "project.edit",
        "copy a file of an experiment into the project",
        audit="experiment.add_to_project",
    )
    async def add_to_project(self, project_id: str, experiment_id: str, body: AddToProject) -> Json:
        folder = await self._outputs(project_id, experiment_id)
        project = await self._lookup.project(project_id)
        usage = self._control.project_usage
        await self._control.disk.check_free("a file")
        file = await trio.to_thread.run_sync(file_operations.opened, folder, body.path)
        with file:
            size = os.fstat(file.fileno()).st_size
            await usage.admit(project, "a file", size)
            root, target = Path(project.path), body.target or body.path
            async with self._control.project_locks.changing(project.id):
                await trio.to_thread.run_sync(file_operations.save, file, root, target)
        usage.add(project, size)
        annotate(f"file {body.path}")
        return {"hidden_by": await self._experiments.hiding_line(project, target)}

    async def _outputs(self, project_id: str, experiment_id: str) -> Path:
        """The folder of its files, which are complete when the experiment has ended."""
        experiment = await self._lookup.experiment(project_id, experiment_id)
        if experiment.ended_at is None:
            raise Refusal("state.conflict", f"experiment {experiment.number} has not ended yet")
        return self._views.experiment_outputs(experiment)

    async def _chosen(self, project_id: str) -> Sequence[Experiment]:
        """The experiments that the query names by id or number, in its order; else the latest."""
        wanted = [each for each in text("ids").split(",") if each]
        if len(wanted) > MOST_EXPERIMENTS:
            raise Refusal("argument.invalid", f"ids: more than {MOST_EXPERIMENTS} experiments")
        if not wanted:
            latest = ListPart(descending=True, limit=MOST_EXPERIMENTS)
            return (await self._records.experiments(project_id, latest))[::-1]
        return [await self._named(project_id, each) for each in wanted]

    async def _named(self, project_id: str, name: str) -> Experiment:
        if _NUMBER.fullmatch(name):
            numbered = ListPart(equal={"number": int(name)})
            for found in await self._records.experiments(project_id, numbered):
                return found
        return await self._records.experiment(project_id, name)

    async def _json(self, experiment: Experiment) -> Json:
        return experiment_json(await self._views.experiment(experiment))

    async def _items(self, found: Sequence[Experiment]) -> Sequence[Json]:
        return [await self._json(each) for each in found]


def _beginning(folder: Path, path: str) -> Json:
    """`text` is null for a file that is not text."""
    with file_operations.opened(folder, path) as file:
        size = os.fstat(file.fileno()).st_size
        found = file.read(_MOST_TEXT)
    shown = found.decode("utf-8", "ignore" if len(found) < size else "replace")
    is_text = b"\0" not in found and "\ufffd" not in shown
    return {
        "text": shown if is_text else None,
        "file_size": str(size),
        "complete": len(found) == size,
    }


async def _compared(shown: list[bytes], parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    yield b'{"experiments":[%b],' % b",".join(shown)
    for part in parts:
        yield part
        await trio.lowlevel.checkpoint()
    yield b"}"


def experiment_json(view: ExperimentView) -> Json:
    experiment = view.experiment
    return {
        "id": experiment.id,
        "experiment_number": experiment.number,
        "project_id": experiment.project_id,
        "creator": creator_json(experiment.creator),
        "comment": experiment.comment,
        "script": experiment.script,
        "arguments": experiment.arguments,
        "kernel": experiment.kernel or experiment.interpreter,
        "runtime_identifier": experiment.interpreter,
        "cpu": experiment.cpu_millicores / 1000,
        "memory": experiment.memory_mb / 1024,
        "nvidia_gpus": experiment.nvidia_gpus,
        "network": experiment.network,
        "keep": experiment.keep,
        "fresh": experiment.fresh,
        "snapshot": experiment.snapshot,
        "lock": lock_json(experiment),
        "status": experiment.status,
        "waiting_for": view.waiting_for,
        "exit_status": experiment.exit_status,
        "failure": failure_json(experiment.failure),
        "metrics": view.metrics,
        "created_at": experiment.created_at,
        "updated_at": experiment.updated_at,
        "started_at": experiment.started_at,
        "ended_at": experiment.ended_at,
    }
