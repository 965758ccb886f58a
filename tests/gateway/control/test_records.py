"""Records by id: each is found below its own parent only."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import store
from gateway.control.records import Records
from store import Build, Database, Deployment, Experiment, Model, NotFound, Project
from tests.support.records import a_build, a_deployment, a_model, a_project, an_experiment


class Rows:
    """Two projects, each with a model, a build, a deployment and an experiment."""

    def __init__(self) -> None:
        self.projects: list[Project] = []
        self.models: list[Model] = []
        self.builds: list[Build] = []
        self.deployments: list[Deployment] = []
        self.experiments: list[Experiment] = []

    async def fill(self, database: Database) -> None:
        for name in "pq":
            project = await database.write(store.projects.insert, a_project(name))
            model = await database.write(store.models.insert, a_model(project))
            build = await database.write(store.builds.insert, a_build(model))
            deployment, experiment = a_deployment(model, build), an_experiment(project)
            self.projects.append(project)
            self.models.append(model)
            self.builds.append(build)
            self.deployments.append(await database.write(store.deployments.insert, deployment))
            self.experiments.append(await database.write(store.experiments.insert, experiment))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with store.open_database(tmp_path / "predictd.db") as database:
        yield database


@pytest.fixture
async def rows(database: Database) -> Rows:
    rows = Rows()
    await rows.fill(database)
    return rows


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


async def test_a_record_is_found_below_its_parent(records: Records, rows: Rows) -> None:
    """A record is found by the id of its parent and its own, and is listed there."""
    project, model, build = rows.projects[0], rows.models[0], rows.builds[0]
    assert await records.project(project.id) == project
    assert await records.model(project.id, model.id) == model
    assert await records.build(model, build.id) == build
    assert await records.deployment(build, rows.deployments[0].id) == rows.deployments[0]
    assert await records.experiment(project.id, rows.experiments[0].id) == rows.experiments[0]
    assert await records.models(project.id) == [model]
    assert await records.builds(model) == [build]
    assert await records.deployments(model) == await records.deployments_of(build)
    assert await records.deployments_of(rows.builds[1]) == rows.deployments[1:2]
    assert await records.experiments(project.id) == rows.experiments[:1]
    assert (await records.models(), await records.experiments()) == (rows.models, rows.experiments)


async def test_a_record_of_another_parent_is_not_found(records: Records, rows: Rows) -> None:
    """The id of another project's record is answered as one that names nothing."""
    project, model, build = rows.projects[0], rows.models[0], rows.builds[0]
    for looking in (
        records.project("x"),
        records.model(project.id, rows.models[1].id),
        records.build(model, rows.builds[1].id),
        records.deployment(build, rows.deployments[1].id),
        records.experiment(project.id, rows.experiments[1].id),
    ):
        with pytest.raises(NotFound):
            await looking


async def test_only_visible_projects_are_listed(records: Records, rows: Rows) -> None:
    """Projects are listed in the order of their creation, without those that may not be seen."""
    seen = rows.projects[1].id
    assert await records.projects(lambda _: True) == rows.projects
    assert await records.projects(lambda project_id: project_id == seen) == rows.projects[1:]


async def test_a_deleted_model_does_not_exist(
    records: Records, rows: Rows, database: Database
) -> None:
    """A model exists until it is deleted."""
    assert await records.exists(rows.models[0])
    await database.write(store.models.delete, rows.models[0].id)
    assert not await records.exists(rows.models[0])
