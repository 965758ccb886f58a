"""What the store's tests share: a fresh database, and rows in it to hang others on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import store
from store import Build, Database, Deployment, Model, Project, open_database
from tests.support.records import a_build, a_deployment, a_model, a_project


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "predictd.db"


@pytest.fixture
async def database(database_path: Path) -> AsyncIterator[Database]:
    async with open_database(database_path) as database:
        yield database


@pytest.fixture
async def project(database: Database) -> Project:
    return await database.write(store.projects.insert, a_project())


@pytest.fixture
async def model(database: Database, project: Project) -> Model:
    return await database.write(store.models.insert, a_model(project))


@pytest.fixture
async def build(database: Database, model: Model) -> Build:
    return await database.write(store.builds.insert, a_build(model))


@pytest.fixture
async def deployment(database: Database, model: Model, build: Build) -> Deployment:
    return await database.write(store.deployments.insert, a_deployment(model, build))
