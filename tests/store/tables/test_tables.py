"""Projects, models, builds and deployments: what is written comes back, and what hangs together."""

import uuid
from typing import Any

import msgspec
import pytest

from store import (
    Build,
    BuildInUse,
    Database,
    Deployment,
    Failure,
    IllegalTransition,
    Model,
    NameTaken,
    NotFound,
    Project,
    Step,
    builds,
    deployments,
    models,
    new_id,
    now,
    projects,
    site,
)
from store.tables import table
from tests.support.records import a_build, a_deployment, a_model, a_project

FAILURE = Failure(step="PROBE", summary="s", problem="\x00 'quoted' \u2028", advice="")
STEPS = [
    Step(name="SNAPSHOT", state="done", started_at=now(), seconds=0.25),
    Step(name="ENVIRONMENT", state="waiting"),
]


def as_given(record: msgspec.Struct) -> dict[str, Any]:
    """A record's fields without those that the store gives."""
    given = msgspec.structs.asdict(record)
    return {name: given[name] for name in given.keys() - {"number", "created_at", "updated_at"}}


async def test_every_field_comes_back(database: Database) -> None:
    """What was inserted is returned and read back field by field; the store adds its own."""
    project = msgspec.structs.replace(
        a_project("na\u00efve \U0001f600"),
        linked=False,
        variables=bytes(range(256)),
        creation_status="failure",
    )
    stored = await database.write(projects.insert, project)
    assert as_given(stored) == as_given(project)
    assert stored.number == 1
    assert stored.created_at == stored.updated_at <= now()
    assert await database.read(projects.get, project.id) == stored

    model = msgspec.structs.replace(a_model(stored), auth_enabled=True, visibility="public")
    stored_model = await database.write(models.insert, model)
    assert as_given(stored_model) == as_given(model)
    assert await database.read(models.get, model.id) == stored_model

    build = msgspec.structs.replace(
        a_build(model), example="null", steps=STEPS, failure=FAILURE, snapshot="c0ffee"
    )
    stored_build = await database.write(builds.insert, build)
    assert as_given(stored_build) == as_given(build)
    assert await database.read(builds.get, build.id) == stored_build

    deployment = msgspec.structs.replace(
        a_deployment(stored_model, stored_build), variables=b"\0ciphertext", failure=FAILURE
    )
    stored_deployment = await database.write(deployments.insert, deployment)
    assert as_given(stored_deployment) == as_given(deployment)
    assert await database.read(deployments.get, deployment.id) == stored_deployment


async def test_numbers_and_times_are_the_stores(database: Database, build: Build) -> None:
    """The store alone numbers and dates a record."""
    again = msgspec.structs.replace(build, id=new_id(), number=77, created_at="long ago")
    stored = await database.write(builds.insert, again)
    assert stored.number == 2
    assert stored.created_at > build.created_at


@pytest.mark.parametrize("noun", [projects, models, builds, deployments], ids=lambda t: t.noun)
async def test_unknown_record_is_not_found(database: Database, noun: Any) -> None:
    """Reading, changing and deleting what does not exist raises NotFound with noun and key."""
    for function in (noun.get, noun.update, noun.delete):
        with pytest.raises(NotFound) as caught:
            await database.write(function, "unknown")
        assert (caught.value.noun, caught.value.key) == (
            noun.noun,
            "unknown",
        )


async def test_record_needs_its_parent(
    database: Database, project: Project, model: Model, build: Build
) -> None:
    """A model needs its project, a build its model, a deployment its model and its build."""
    stranger = msgspec.structs.replace(model, id=new_id())
    with pytest.raises(NotFound, match="project"):
        await database.write(models.insert, a_model(a_project()))
    with pytest.raises(NotFound, match="model"):
        await database.write(builds.insert, a_build(stranger))
    with pytest.raises(NotFound, match="model"):
        await database.write(deployments.insert, a_deployment(stranger, build))
    with pytest.raises(NotFound, match="build"):
        await database.write(deployments.insert, a_deployment(model, a_build(model)))
    assert await database.read(models.list_all) == [model]
    assert await database.read(deployments.list_all) == []


async def test_project_is_found_by_its_folder(database: Database, project: Project) -> None:
    """A folder leads to its project, or to None where it has none."""
    assert await database.read(projects.by_path, project.path) == project
    assert await database.read(projects.by_path, "x") is None


async def test_listings_ascend_by_creation(database: Database) -> None:
    """Listings are whole, ascend by creation, and keep to the project or model asked for."""
    made = [await database.write(projects.insert, a_project(name)) for name in "cab"]
    assert await database.read(projects.list_all) == made
    of_first = [await database.write(models.insert, a_model(made[0], name)) for name in "zy"]
    of_second = [await database.write(models.insert, a_model(made[1], name)) for name in "zy"]
    assert await database.read(models.list_all) == of_first + of_second
    assert await database.read(models.list_all, made[1].id) == of_second
    for number in range(1, 4):
        assert (await database.write(builds.insert, a_build(of_first[0]))).number == number
    listed = await database.read(builds.list_all, of_first[0].id)
    assert [build.number for build in listed] == [1, 2, 3]
    assert await database.read(builds.list_all, of_second[0].id) == []


async def test_change_touches_only_its_fields(
    database: Database, project: Project, model: Model, build: Build
) -> None:
    """A change touches the fields it names and the time of change, nothing else."""
    changed = await database.write(projects.update, project.id, variables=b"other")
    assert changed == msgspec.structs.replace(
        project, variables=b"other", updated_at=changed.updated_at
    )
    assert changed.updated_at > project.updated_at
    assert (await database.write(models.update, model.id, auth_enabled=True)).auth_enabled is True
    taken = await database.write(builds.advance, build.id, "snapshotted", steps=STEPS)
    assert (taken.steps, taken.status) == (STEPS, "queued")


@pytest.mark.parametrize("field", ["id", "number", "status", "built_at", "model_id", "unheard_of"])
async def test_fixed_fields_cannot_be_changed(database: Database, build: Build, field: str) -> None:
    """Identity, status, times and unknown fields are refused as changes."""
    with pytest.raises(TypeError, match=field):
        await database.write(builds.advance, build.id, "snapshotted", **{field: "x"})
    assert await database.read(builds.get, build.id) == build


async def test_unreadable_change_is_rolled_back(database: Database, project: Project) -> None:
    """A change that its record could not be read back with is rolled back."""
    with pytest.raises(msgspec.ValidationError):
        await database.write(projects.update, project.id, visibility="secret")
    assert await database.read(projects.get, project.id) == project


async def test_names_are_unique(database: Database, project: Project, model: Model) -> None:
    """A name taken is refused by name, on insert and on change; models only in their project."""
    other = await database.write(projects.insert, a_project())
    with pytest.raises(NameTaken) as caught:
        await database.write(projects.insert, a_project(project.name))
    assert (caught.value.noun, caught.value.name) == ("project", project.name)
    with pytest.raises(NameTaken, match=project.path):
        await database.write(projects.insert, a_project(path=project.path))
    with pytest.raises(NameTaken, match=project.name):
        await database.write(projects.update, other.id, name=project.name)
    with pytest.raises(NameTaken, match=model.name):
        await database.write(models.insert, a_model(project, model.name))
    await database.write(models.insert, a_model(other, model.name))
    assert await database.read(projects.list_all) == [project, other]


async def test_deleted_names_are_free_again(
    database: Database, project: Project, model: Model, deployment: Deployment
) -> None:
    """Deletion takes along what belongs to it and frees names, folders and keys, but no number."""
    await database.write(models.delete, model.id)
    assert await database.read(builds.list_all, model.id) == []
    assert await database.read(deployments.list_all) == []
    again = await database.write(models.insert, a_model(project, model.name))
    assert again.number == model.number + 1
    assert (await database.write(builds.insert, a_build(again))).number == 1

    await database.write(projects.delete, project.id)
    assert await database.read(models.list_all) == []
    new = await database.write(projects.insert, a_project(project.name, project.path))
    assert new.number == project.number + 1


async def test_build_numbers_are_never_reused(database: Database, model: Model) -> None:
    """A build's number is gone with it, even when all builds of the model are deleted."""
    first, second = [await database.write(builds.insert, a_build(model)) for _ in range(2)]
    assert (first.number, second.number) == (1, 2)
    await database.write(builds.delete, second.id)
    assert (await database.write(builds.insert, a_build(model))).number == 3
    for build in await database.read(builds.list_all, model.id):
        await database.write(builds.delete, build.id)
    assert (await database.write(builds.insert, a_build(model))).number == 4


async def test_deployment_numbers_are_never_reused(
    database: Database, model: Model, deployment: Deployment
) -> None:
    """A deployment's number is the server's and is gone with it."""
    project = await database.read(projects.get, model.project_id)
    await database.write(models.delete, model.id)
    other = await database.write(models.insert, a_model(project))
    build = await database.write(builds.insert, a_build(other))
    stored = await database.write(deployments.insert, a_deployment(other, build))
    assert stored.number == deployment.number + 1


async def test_build_in_use_is_kept(
    database: Database, build: Build, deployment: Deployment
) -> None:
    """A build is kept while a deployment wants it or still stops; history outlives it."""

    async def refused() -> None:
        with pytest.raises(BuildInUse) as caught:
            await database.write(builds.delete, build.id)
        assert (caught.value.number, caught.value.deployments) == (1, (deployment.number,))
        assert await database.read(builds.get, build.id) == build

    await refused()
    await database.write(deployments.advance, deployment.id, "started")
    await database.write(deployments.advance, deployment.id, "stop", wanted="stop")
    await refused()
    stopped = await database.write(deployments.advance, deployment.id, "stopped")
    await database.write(builds.delete, build.id)
    assert await database.read(deployments.get, deployment.id) == msgspec.structs.replace(
        stopped, build_id=None
    )


async def test_unfinished_records_can_still_change(database: Database, model: Model) -> None:
    """Unfinished builds and deployments are those to which something can still happen."""
    first, second, third = [await database.write(builds.insert, a_build(model)) for _ in range(3)]
    second = await database.write(builds.advance, second.id, "snapshotted")
    await database.write(builds.advance, first.id, "failed")
    assert await database.read(builds.unfinished) == [second, third]

    one, two = [
        await database.write(deployments.insert, a_deployment(model, third)) for _ in range(2)
    ]
    await database.write(deployments.advance, one.id, "failed", failure=FAILURE)
    assert await database.read(deployments.unfinished) == [two]


async def test_unfinished_records_are_in_creation_order(
    database: Database, project: Project, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unfinished records are in the order of creation, regardless of model and clock."""
    other = await database.write(models.insert, a_model(project))
    hours = iter(range(23, 0, -1))
    monkeypatch.setattr(table, "now", lambda: f"2026-11-21T{next(hours):02}:00:00.000000Z")
    made = []
    for each in (other, other, model, other):
        made.append(await database.write(builds.insert, a_build(each)))
        await database.write(deployments.insert, a_deployment(each, made[-1]))
    assert await database.read(builds.unfinished) == made
    found = await database.read(deployments.unfinished)
    assert [each.build_id for each in found] == [each.id for each in made]


async def test_wanted_deployments_ascend_by_number(
    database: Database, model: Model, build: Build
) -> None:
    """Wanted deployments ascend by number; what stopped or failed is not wanted."""
    one, two, three, four = [
        await database.write(deployments.insert, a_deployment(model, build)) for _ in range(4)
    ]
    failed = await database.write(deployments.fail, three.id, FAILURE)
    assert (failed.status, failed.wanted, failed.failure) == ("failed", "stop", FAILURE)
    stopped = await database.write(deployments.stop, two.id)
    assert (stopped.status, stopped.wanted) == ("stopped", "stop")
    assert await database.read(deployments.wanted) == [one, four]


async def test_switch_is_whole_or_absent(database: Database, model: Model, build: Build) -> None:
    """A switch makes the new one serve and those that did stop, or changes nothing at all."""
    old, older, new = [
        await database.write(deployments.insert, a_deployment(model, build)) for _ in range(3)
    ]
    for each in (old, older):
        await database.write(deployments.advance, each.id, "started")
        await database.write(deployments.advance, each.id, "ready")
    before = await database.read(deployments.list_all)

    with pytest.raises(NotFound):
        await database.write(deployments.switch, "unknown")
    with pytest.raises(IllegalTransition):
        await database.write(deployments.switch, new.id)
    assert await database.read(deployments.list_all) == before

    await database.write(deployments.advance, new.id, "started")
    stopping = await database.write(deployments.switch, new.id)
    assert [(d.id, d.status, d.wanted) for d in stopping] == [
        (old.id, "stopping", "stop"),
        (older.id, "stopping", "stop"),
    ]
    [serving] = await database.read(deployments.wanted)
    assert (serving.id, serving.status) == (new.id, "deployed")
    assert serving.deployed_at is not None


@pytest.mark.parametrize("events", [(), ("started",), ("started", "ready"), ("started", "stop")])
async def test_ended_deployment_is_stopped_and_unwanted(
    database: Database, model: Model, build: Build, events: tuple[str, ...]
) -> None:
    """From wherever it was a deployment ends stopped and unwanted; once it has ended, it stays."""
    one = await database.write(deployments.insert, a_deployment(model, build))
    for event in events:
        await database.write(deployments.advance, one.id, event)
    await database.write(deployments.end, one.id)
    ended = await database.read(deployments.get, one.id)
    assert (ended.status, ended.wanted) == ("stopped", "serve" if "stop" in events else "stop")
    await database.write(deployments.end, one.id)
    assert await database.read(deployments.get, one.id) == ended


async def test_later_wanted_deployment_overtakes(
    database: Database, model: Model, build: Build
) -> None:
    """Only a later deployment that is wanted, of a build that is made, overtakes."""
    one = await database.write(deployments.insert, a_deployment(model, build))
    two = await database.write(deployments.insert, a_deployment(model, build))
    assert not await database.read(deployments.overtaken, one)
    for event in ("snapshotted", "started", "built"):
        await database.write(builds.advance, build.id, event)
    assert await database.read(deployments.overtaken, one)
    assert not await database.read(deployments.overtaken, two)
    await database.write(deployments.stop, two.id)
    assert not await database.read(deployments.overtaken, one)


async def test_current(database: Database, model: Model, build: Build) -> None:
    """The current deployment serves, or is on its way, or was the last."""
    assert await database.read(deployments.current, model.id) is None
    one, two = [
        await database.write(deployments.insert, a_deployment(model, build)) for _ in range(2)
    ]

    async def current() -> str:
        deployment = await database.read(deployments.current, model.id)
        assert deployment is not None
        return deployment.id

    assert await current() == two.id
    await database.write(deployments.advance, one.id, "started")
    assert await current() == one.id
    await database.write(deployments.fail, one.id, FAILURE)
    assert await current() == two.id
    await database.write(deployments.stop, two.id)
    assert await current() == two.id


async def test_example_is_the_latest_of_a_build(
    database: Database, model: Model, build: Build
) -> None:
    """A model's example is the latest that came with a build."""
    assert await database.read(builds.examples, [model.id]) == {}
    for example in ("1", "2", None):
        again = msgspec.structs.replace(build, id=new_id(), example=example)
        await database.write(builds.insert, again)
    assert await database.read(builds.examples, [model.id]) == {model.id: ("2", None)}


async def test_data_folder_has_one_workspace_id(database: Database) -> None:
    """A data folder has one id, made at its first use."""
    first = await database.write(site.workspace_id)
    assert str(uuid.UUID(first)) == first
    assert await database.write(site.workspace_id) == first


async def test_site_setting_is_remembered_until_forgotten(database: Database) -> None:
    """A setting that was set at run time is remembered, of any kind, until forgotten."""
    values = {"a": 1.5, "b": {"NAME": "null"}, "c": True}
    await database.write(site.set_settings, values)
    await database.write(site.set_settings, {"a": 2})
    assert await database.read(site.settings) == values | {"a": 2}
    await database.write(site.delete_settings, ["a", "nothing"])
    assert set(await database.read(site.settings)) == {"b", "c"}
