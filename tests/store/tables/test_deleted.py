"""What was deleted is remembered until its files are gone as well."""

import store
from store import Database, Project
from tests.support.records import a_build, a_model, an_experiment


async def test_deleted_ids_are_remembered(database: Database, project: Project) -> None:
    """The id of each deleted row, also of one deleted with another, is kept until it is
    forgotten."""
    model = await database.write(store.models.insert, a_model(project))
    builds = [await database.write(store.builds.insert, a_build(model)) for _ in range(2)]
    experiment = await database.write(store.experiments.insert, an_experiment(project))
    await database.write(store.builds.delete, builds[0].id)
    assert await database.read(store.deleted.list_all) == {builds[0].id}
    await database.write(store.projects.delete, project.id)
    ids = {each.id for each in (project, model, *builds, experiment)}
    assert await database.read(store.deleted.list_all) == ids
    await database.write(store.deleted.delete, ids - {model.id})
    assert await database.read(store.deleted.list_all) == {model.id}
