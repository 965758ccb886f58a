"""A data folder with many models and builds, written through the store in seconds.

The builds have no files: nothing of it can be served. One model has a fifth of all builds, and one
project has most of the experiments, since pages of one model or project must be quick too.
"""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import aiosqlite

import store
from store import Build, Deployment, Experiment, Model, Project

R = TypeVar("R")
Insert = Callable[[aiosqlite.Connection, R], Awaitable[R]]
# Rows in one transaction.
_BATCH = 500


class Size(NamedTuple):
    """How much there is."""

    projects: int = 20
    models: int = 200
    builds: int = 10_000
    experiments: int = 1_000
    users: int = 100
    entries: int = 10_000
    requests: int = 1_000
    files: int = 200


class LargeSite(NamedTuple):
    """What stands for the placeholders in the paths of pages: of the project and the model of which
    there is most."""

    project_id: str
    model_id: str
    build_id: str
    deployment_id: str
    experiment_id: str
    username: str
    name: str
    number: str
    runtime_identifier: str = "none"
    path: str = "predict_0.py"

    def path_of(self, page: str) -> str:
        """The path of a page here."""
        path = page.removesuffix("/<path:path>") if page.endswith("/files/<path:path>") else page
        values = self._asdict()
        return re.sub("<(?:path:)?(.+?)>", lambda found: str(values[found[1]]), path)


async def fill(database: store.Database, folder: Path, size: Size) -> LargeSite:
    """Write the records, and the files of the projects below `folder`."""
    projects = [await _project(database, folder, number, size) for number in range(size.projects)]
    models = await _insert(
        database,
        store.models.insert,
        [_model(projects[number % len(projects)], number) for number in range(size.models)],
    )
    first = size.builds // 5
    rest = [models[1 + n % (len(models) - 1)] for n in range(size.builds - first)]
    builds = await _insert(
        database,
        store.builds.insert,
        [_build(model, number) for number, model in enumerate([models[0]] * first + rest)],
    )
    found = {model.id: model for model in models}
    deployments = await _insert(
        database,
        store.deployments.insert,
        [_deployment(found[build.model_id], build) for build in builds if build.status == "built"],
    )
    experiments = await _insert(
        database, store.experiments.insert, [_run(projects[0], n) for n in range(size.experiments)]
    )
    users = await _insert(database, store.users.insert, [_user(n) for n in range(size.users)])
    await _insert(database, store.audit.append, [_entry(models[0], n) for n in range(size.entries)])
    await database.write(store.requests.append, {models[0].id: _requests(size)}, size.requests)
    return LargeSite(
        project_id=projects[0].id,
        model_id=models[0].id,
        build_id=next(b.id for b in reversed(builds[:first]) if b.status == "built"),
        deployment_id=next(d.id for d in reversed(deployments) if d.model_id == models[0].id),
        experiment_id=experiments[-1].id,
        username=users[-1].name,
        name=models[-1].name,
        number=str(models[-1].number),
    )


async def _insert(database: store.Database, insert: Insert[R], records: Sequence[R]) -> list[R]:
    found = list[R]()

    async def write(connection: aiosqlite.Connection, batch: Sequence[R]) -> list[R]:
        return [await insert(connection, record) for record in batch]

    for at in range(0, len(records), _BATCH):
        found += await database.write(write, records[at : at + _BATCH])
    return found


async def _project(database: store.Database, folder: Path, number: int, size: Size) -> Project:
    path = folder / f"project-{number}"
    path.mkdir(parents=True)
    for each in range(size.files if number == 0 else 2):
        (path / f"predict_{each}.py").write_text(_CODE)
    project = Project(
        name=f"project-{number}",
        description="One of many.",
        path=str(path),
        linked=True,
        creator="admin",
    )
    return await database.write(store.projects.insert, project)


_CODE = '''"""A model of the benchmark."""

FACTORS = [1.5, 2.5, 3.5]


def predict(args):
    """Multiplies and adds."""
    return sum(factor * float(args["x"]) for factor in FACTORS)


def helper(args):
    return {"x": args["x"]}
'''


def _model(project: Project, number: int) -> Model:
    return Model(
        project_id=project.id,
        name=f"model-{number}",
        description="Multiplies and adds.",
        cpu_millicores=1000,
        memory_mb=1024,
        replicas=1,
        creator="admin",
    )


def _build(model: Model, number: int) -> Build:
    failed = number % 10 == 9
    failure = store.Failure(
        step="BUILD", summary="the build script failed", problem="exit status 1", advice="read it"
    )
    steps = [
        store.Step(name=name, state="done", started_at=store.now(), seconds=0.5)
        for name in ("SNAPSHOT", "ENVIRONMENT", "BUILD SCRIPT", "PROBE", "SEAL")
    ]
    return Build(
        model_id=model.id,
        comment=f"revision {number}",
        file="predict_0.py",
        function="predict",
        interpreter="python3.11",
        example=json.dumps({"x": number, "name": "n" * 100}),
        status="build failed" if failed else "built",
        steps=steps,
        failure=failure if failed else None,
        creator="admin",
        built_at=None if failed else store.now(),
    )


def _deployment(model: Model, build: Build) -> Deployment:
    return Deployment(
        model_id=model.id,
        project_id=model.project_id,
        build_id=build.id,
        build_number=build.number,
        cpu_millicores=1000,
        memory_mb=1024,
        replicas=1,
        wanted="stop",
        status="stopped",
        deployer="admin",
        deployed_at=store.now(),
        stopped_at=store.now(),
    )


def _run(project: Project, number: int) -> Experiment:
    return Experiment(
        project_id=project.id,
        comment=f"run {number}",
        script="predict_0.py",
        arguments=[str(number)],
        cpu_millicores=1000,
        memory_mb=1024,
        status="succeeded",
        exit_status=0,
        metrics={"loss": number / 10, "r2": 1 / (number + 1)},
        creator="admin",
        started_at=store.now(),
        ended_at=store.now(),
    )


def _user(number: int) -> store.User:
    return store.User(name=f"user-{number}", full_name=f"User {number}")


def _entry(model: Model, number: int) -> store.AuditEntry:
    return store.AuditEntry(
        who=f"user-{number % 100}",
        address="127.0.0.1",
        request_id=store.new_id(),
        action="model.update",
        object=f"/projects/{model.project_id}/models/{model.id}",
        detail="by session; description",
    )


def _requests(size: Size) -> list[store.StoredRequest]:
    return [
        store.StoredRequest(
            at_ms=1_790_000_000_000 + number,
            request_id=store.new_id(),
            status=200,
            code="",
            wait_us=10,
            service_us=500,
            replica="replica-1",
            deployment_number=1,
            build_number=1,
            key_id="",
            user_id="",
            test=False,
        )
        for number in range(size.requests)
    ]
