"""Every statement that is about one owner, beside another owner of each kind.

What a statement leaves out of its WHERE shows only where there are two: two projects, two models of
each, two builds, two users. So each law is tried on the first of two, and the second stays as it
was.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiosqlite
import msgspec
import pytest

from store import (
    Build,
    Database,
    Deployment,
    Experiment,
    Failure,
    Key,
    Membership,
    Model,
    Project,
    Record,
    RunMetric,
    Session,
    User,
    builds,
    deployments,
    experiments,
    keys,
    memberships,
    models,
    projects,
    sessions,
    users,
)
from tests.support.records import (
    a_build,
    a_deployment,
    a_key,
    a_model,
    a_project,
    a_session,
    a_user,
    an_experiment,
)


class Rows:
    """Two projects, each with two models; each model with two builds that are made and a deployment
    of each that serves or is to; each project with two experiments; two users, each with two
    keys, two sessions and a membership in each project."""

    def __init__(self) -> None:
        self.projects: list[Project] = []
        self.models: list[Model] = []
        self.builds: list[Build] = []
        self.deployments: list[Deployment] = []
        self.experiments: list[Experiment] = []
        self.users: list[User] = []
        self.keys: list[Key] = []
        self.sessions: list[Session] = []
        self.memberships: list[Membership] = []


async def _fill(connection: aiosqlite.Connection) -> Rows:
    rows = Rows()
    rows.users = [await users.insert(connection, a_user()) for _ in range(2)]
    for user in rows.users:
        rows.keys += [await keys.insert(connection, a_key(user)) for _ in range(2)]
        rows.sessions += [await sessions.insert(connection, a_session(user)) for _ in range(2)]
    for _ in range(2):
        project = await projects.insert(connection, a_project())
        rows.projects.append(project)
        for number, user in enumerate(rows.users):
            role = ("owner", "viewer")[number]
            put = await memberships.put(connection, project.id, user.id, role)  # type: ignore[arg-type]
            rows.memberships.append(put)
        for _ in range(2):
            rows.models.append(model := await models.insert(connection, a_model(project)))
            for _ in range(2):
                build = await _built(connection, model)
                rows.builds.append(build)
                asked = a_deployment(model, build)
                rows.deployments.append(await deployments.insert(connection, asked))
            first = rows.deployments[-2]
            await deployments.advance(connection, first.id, "started")
            await deployments.advance(connection, first.id, "ready")
        for _ in range(2):
            rows.experiments.append(await _ended(connection, project))
    return rows


async def _built(connection: aiosqlite.Connection, model: Model) -> Build:
    build = await builds.insert(connection, a_build(model))
    for event in ("snapshotted", "started", "built"):
        build = await builds.advance(connection, build.id, event)
    return build


async def _ended(connection: aiosqlite.Connection, project: Project) -> Experiment:
    made = await experiments.insert(connection, an_experiment(project))
    environment = f"environment of {made.id}"
    await experiments.update(connection, made.id, environment_id=environment)
    await experiments.start(connection, made.id)
    told = [RunMetric(key="loss", value=made.number, time=1)]
    return await experiments.end(connection, made.id, "succeeded", told)


@pytest.fixture
async def rows(database: Database) -> Rows:
    return await database.write(_fill)


async def _everything(connection: aiosqlite.Connection) -> dict[str, Record]:
    """All that there is, by id."""
    found: list[Record] = []
    found += await projects.list_all(connection)
    for model in await models.list_all(connection):
        found += [model, *await builds.list_all(connection, model.id)]
    found += await deployments.list_all(connection)
    found += await experiments.list_all(connection)
    found += await users.list_all(connection)
    found += await keys.list_all(connection)
    found += await sessions.list_all(connection)
    found += await memberships.list_all(connection)
    return {each.id: each for each in found}


def _ids(found: Sequence[Record]) -> set[str]:
    return {each.id for each in found}


async def test_listing_has_all_and_only_its_owners_rows(database: Database, rows: Rows) -> None:
    """A listing has all of the one that is asked for, and nothing of another."""
    read = database.read
    for project in rows.projects:
        ours = [m for m in rows.models if m.project_id == project.id]
        assert await read(models.list_all, project.id) == ours
        runs = [e for e in rows.experiments if e.project_id == project.id]
        assert await read(experiments.list_all, project.id) == runs
        members = [m for m in rows.memberships if m.project_id == project.id]
        assert await read(memberships.list_all, project.id) == members
        kept = await read(projects.folders, project.id)
        assert set(kept.builds) == _ids([b for b in rows.builds if b.model_id in _ids(ours)])
        assert set(kept.experiments) == _ids(runs)
    for model in rows.models:
        made = [b for b in rows.builds if b.model_id == model.id]
        assert await read(builds.list_all, model.id) == made
        listed = await read(deployments.list_all, model.id)
        assert _ids(listed) == _ids([d for d in rows.deployments if d.model_id == model.id])
        current = await read(deployments.current, model.id)
        assert current is not None
        assert current.model_id == model.id
    for user in rows.users:
        assert await read(keys.list_all, user.id) == [k for k in rows.keys if k.user_id == user.id]
    assert await read(memberships.owned_by, rows.users[0].id) == [p.id for p in rows.projects]
    assert await read(memberships.owned_by, rows.users[1].id) == []
    for run in rows.experiments:
        [point] = await read(experiments.points, run.id)
        assert point.value == run.number


async def test_a_later_deployment_of_another_model_does_not_overtake(
    database: Database, rows: Rows
) -> None:
    """A deployment is overtaken only by a later one of its own model that is still wanted and has a
    build."""
    first, second = rows.deployments[-4:-2], rows.deployments[-2:]
    assert first[0].model_id != second[0].model_id
    read, write = database.read, database.write
    assert await read(deployments.overtaken, first[0])
    assert not await read(deployments.overtaken, first[1])  # by those of the other model, later
    assert not await read(deployments.overtaken, second[1])
    await write(deployments.stop, second[1].id)
    assert not await read(deployments.overtaken, second[0])
    assert await read(deployments.overtaken, first[0])
    unmade = await write(builds.insert, a_build(rows.models[-1]))
    await write(deployments.insert, a_deployment(rows.models[-1], unmade))
    assert not await read(deployments.overtaken, second[0])


Of = Callable[[Rows], set[str]]
Deed = tuple[Callable[..., Awaitable[Any]], Callable[[Rows], tuple[Any, ...]], Of]


def _with_project(rows: Rows) -> set[str]:
    project = rows.projects[0]
    own = {m.id for m in rows.models if m.project_id == project.id}
    gone = own | {project.id}
    gone |= _ids([b for b in rows.builds if b.model_id in own])
    gone |= _ids([d for d in rows.deployments if d.model_id in own])
    gone |= _ids([e for e in rows.experiments if e.project_id == project.id])
    return gone | _ids([m for m in rows.memberships if m.project_id == project.id])


def _with_model(rows: Rows) -> set[str]:
    of = rows.models[0].id
    made = [b.id for b in rows.builds if b.model_id == of]
    return {of, *made, *(d.id for d in rows.deployments if d.model_id == of)}


def _with_user(rows: Rows) -> set[str]:
    return {rows.users[1].id} | _ids([*rows.keys[2:], *rows.sessions[2:], *rows.memberships[1::2]])


# By name: the statement, its arguments, and the ids of all that it may change or take away.
DEEDS: dict[str, Deed] = {
    "delete a project": (
        projects.delete,
        lambda rows: (rows.projects[0].id,),
        _with_project,
    ),
    "delete a model": (models.delete, lambda rows: (rows.models[0].id,), _with_model),
    "delete an experiment": (
        experiments.delete,
        lambda rows: (rows.experiments[0].id,),
        lambda rows: {rows.experiments[0].id},
    ),
    "delete a user": (users.delete, lambda rows: (rows.users[1].id,), _with_user),
    "delete a key": (keys.delete, lambda rows: (rows.keys[0].id,), lambda rows: {rows.keys[0].id}),
    "delete all keys": (
        keys.delete_all,
        lambda rows: (rows.users[0].id, ["model"]),
        lambda rows: _ids(rows.keys[:2]),
    ),
    "end a session": (
        sessions.end,
        lambda rows: (rows.sessions[0].id,),
        lambda rows: {rows.sessions[0].id},
    ),
    "end all sessions": (
        sessions.end_all,
        lambda rows: (rows.users[0].id,),
        lambda rows: _ids(rows.sessions[:2]),
    ),
    "end a membership": (
        memberships.remove,
        lambda rows: (rows.projects[0].id, rows.users[1].id),
        lambda rows: {rows.memberships[1].id},
    ),
    "give a role": (
        memberships.put,
        lambda rows: (rows.projects[0].id, rows.users[1].id, "admin"),
        lambda rows: {rows.memberships[1].id},
    ),
    "pass a project on": (
        memberships.transfer,
        lambda rows: (rows.projects[0].id, rows.users[1].id),
        lambda rows: _ids(rows.memberships[:2]),
    ),
    "change a model": (
        lambda connection, model_id: models.update(connection, model_id, description="x"),
        lambda rows: (rows.models[0].id,),
        lambda rows: {rows.models[0].id},
    ),
    "stop a deployment": (
        deployments.stop,
        lambda rows: (rows.deployments[0].id,),
        lambda rows: {rows.deployments[0].id},
    ),
    "fail a deployment": (
        deployments.fail,
        lambda rows: (rows.deployments[1].id, Failure(step="", summary="", problem="", advice="")),
        lambda rows: {rows.deployments[1].id},
    ),
    "end a deployment": (
        deployments.end,
        lambda rows: (rows.deployments[0].id,),
        lambda rows: {rows.deployments[0].id},
    ),
}


@pytest.mark.parametrize("name", DEEDS)
async def test_change_reaches_only_its_owners_rows(
    database: Database, rows: Rows, name: str
) -> None:
    """A change or a deletion reaches all rows of the owner, and none of another."""
    deed, arguments, theirs = DEEDS[name]
    before = await database.read(_everything)
    await database.write(deed, *arguments(rows))
    after = await database.read(_everything)
    touched = {each for each in before if before[each] != after.get(each)}
    assert touched == theirs(rows)


async def test_switch_stops_only_deployments_of_its_model(database: Database, rows: Rows) -> None:
    """A switch stops the deployment of the same model that served, and no other."""
    new = rows.deployments[1]
    await database.write(deployments.advance, new.id, "started")
    old = await database.write(deployments.switch, new.id)
    assert _ids(old) == {rows.deployments[0].id}
    status = {each.id: each.status for each in await database.read(deployments.list_all)}
    serving = {each for each, now in status.items() if now == "deployed"}
    assert serving == {rows.deployments[i].id for i in (1, 2, 4, 6)}


async def test_build_is_kept_for_its_own_deployments(database: Database, rows: Rows) -> None:
    """A build can be deleted when its own deployments have ended, regardless of others."""
    write = database.write
    await write(deployments.end, rows.deployments[0].id)
    await write(builds.delete, rows.builds[0].id)
    left = {build.id for build in await database.read(builds.list_all, rows.models[0].id)}
    assert left == {rows.builds[1].id}


async def test_example_and_build_number_are_of_one_model(database: Database, rows: Rows) -> None:
    """The latest example of a model is of its own builds, and its numbers are its own."""
    write = database.write
    for number in range(2):
        asked = msgspec.structs.replace(a_build(rows.models[number]), example=str(number))
        assert (await write(builds.insert, asked)).number == 3
    ids = [model.id for model in rows.models[:3]]
    found = await database.read(builds.examples, ids)
    assert found == {ids[0]: ("0", None), ids[1]: ("1", None)}
    latest = await database.read(builds.latest_of, ids[:2])
    assert {key: build.number for key, build in latest.items()} == {ids[0]: 3, ids[1]: 3}


async def test_deleted_experiment_loses_its_own_points(database: Database, rows: Rows) -> None:
    """What an experiment tracked is deleted with it, and nothing of another."""
    first = rows.experiments[0]
    await database.write(experiments.delete, first.id)
    assert await database.read(experiments.points, first.id) == []
