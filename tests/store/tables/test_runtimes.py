"""Runtimes: versions of a name, made once, kept while something uses them."""

import pytest

from store import (
    Database,
    IllegalTransition,
    Model,
    NotFound,
    Project,
    Runtime,
    RuntimeInUse,
    builds,
    experiments,
    projects,
    runtimes,
)
from tests.support.records import a_build, an_experiment


def a_runtime(name: str = "science") -> Runtime:
    return Runtime(name=name, interpreter="python3.11", requirements="numpy\n", creator="ada")


async def test_versions_of_a_name_count_from_one(database: Database) -> None:
    """Each name has its own versions, and an identifier names one of them."""
    made = [
        await database.write(runtimes.insert, a_runtime(name))
        for name in ("science", "science", "other")
    ]
    assert [each.identifier for each in made] == ["science@1", "science@2", "other@1"]
    assert await database.read(runtimes.list_all) == made
    assert await database.read(runtimes.unfinished) == made


async def test_runtime_is_made_once(database: Database) -> None:
    """A runtime that is ready stays so, and its name and version do not change."""
    made = await database.write(runtimes.insert, a_runtime())
    ready = await database.write(runtimes.advance, made.id, "made")
    assert (ready.status, ready.ready_at is not None) == ("ready", True)
    with pytest.raises(IllegalTransition):
        await database.write(runtimes.advance, made.id, "failed")
    with pytest.raises(TypeError, match="version"):
        await database.write(runtimes.update, made.id, version=7)
    disabled = await database.write(runtimes.update, made.id, disabled=True)
    assert disabled.disabled


async def test_runtime_in_use_cannot_be_deleted(
    database: Database, project: Project, model: Model
) -> None:
    """A runtime that a build, an experiment or a project names cannot be deleted."""
    made = await database.write(runtimes.insert, a_runtime())
    build = await database.write(builds.insert, a_build(model))
    await database.write(builds.update, build.id, interpreter=made.identifier)
    with pytest.raises(RuntimeInUse, match="used by builds"):
        await database.write(runtimes.delete, made.id)
    await database.write(builds.update, build.id, interpreter="python3.11")
    run = await database.write(experiments.insert, an_experiment(project))
    await database.write(experiments.update, run.id, interpreter=made.identifier)
    with pytest.raises(RuntimeInUse, match="used by experiments"):
        await database.write(runtimes.delete, made.id)
    await database.write(experiments.update, run.id, interpreter="python3.11")
    await database.write(projects.update, project.id, runtime=made.identifier)
    with pytest.raises(RuntimeInUse, match="used by projects"):
        await database.write(runtimes.delete, made.id)
    await database.write(projects.update, project.id, runtime="")
    await database.write(runtimes.delete, made.id)
    with pytest.raises(NotFound):
        await database.read(runtimes.get, made.id)
