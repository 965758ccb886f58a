"""A change of permissions that the store refuses has not happened.

Each change is written first and applied to memory then. If the disk refuses it, the request is
refused. If memory had it already, it would be in force until the next start only.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

import store
from gateway.control.accounts.keys import NewKey
from gateway.control.accounts.users import NewUser
from gateway.control.deployments.rollout import Rollout
from gateway.control.projects.models import Models
from gateway.control.projects.projects import Projects
from gateway.errors import Refusal
from gateway.identity.grants import Principal
from store import Database, Deployment, Key, Model, Project, Session, User
from tests.gateway.control.rollout_stage import (
    LargeHost,
    PlayedBuilds,
    PlayedPools,
    deployments_on,
)
from tests.support.control_stage import HERE, PASSWORD, Clock, ControlStage, opened

NEW = "another one, longer"


class People(ControlStage):
    """The parts that change permissions, and two of each kind to change."""

    ada: User
    bob: User
    project: Project
    model: Model
    deployment: Deployment
    session: Session
    token: str
    key: Key
    stopped: list[str]

    async def arrive(self) -> None:
        self.ada, self.bob = [
            (await self.users.create(NewUser(name=name, password=PASSWORD)))[0]
            for name in ("Ada", "Bob")
        ]
        builds, resources = cast(Any, None), LargeHost()
        self.deployments = deployments_on(
            self, resources, PlayedBuilds(self.database), PlayedPools()
        )
        self.models = Models(
            database=self.database,
            permissions=self.permissions,
            settings=self.settings,
            resources=resources,
            data=self.data,
            set_aside=self.set_aside,
            builds=builds,
            deployments=self.deployments,
        )
        self.projects = Projects(
            permissions=self.permissions,
            settings=self.settings,
            variables=self.variables,
            disk=cast(Any, None),
            files=cast(Any, None),
            models=self.models,
            experiments=cast(Any, None),
            catalogue=cast(Any, None),
            environments=cast(Any, None),
        )
        asked = Project(name="p", path="/p", linked=True, creator="Ada")
        self.project = await self.projects.insert(self.ada, asked)
        size = {"cpu_millicores": 1, "memory_mb": 1, "replicas": 1}
        given = Model(project_id=self.project.id, name="m", creator="Ada", **size)  # type: ignore[arg-type]
        self.model = await self.database.write(store.models.insert, given)
        self.endpoints.put_model(self.model)
        self.token = await self.sign_in.sign_in("Ada", PASSWORD, HERE)
        found = self.accounts.session(self.token)
        assert found is not None
        self.session = found[0]
        self.maker = Principal(self.ada, "session", "", session=self.session)
        self.key, self.key_text = await self.keys.create(self.ada, NewKey(kind="api"), self.maker)
        await self.collaborators.put(self.project, self.bob, "viewer")
        await self._deploy(size)

    async def _deploy(self, size: dict[str, int]) -> None:
        build = await self.database.write(
            store.builds.insert,
            store.Build(model_id=self.model.id, file="f", function="f", creator="Ada"),
        )
        facts = {"model_id": self.model.id, "project_id": self.project.id, "deployer": "Ada"}
        asked = Deployment(build_id=build.id, build_number=1, **facts, **size)  # type: ignore[arg-type]
        self.deployment = await self.database.write(store.deployments.insert, asked)
        self.stopped = []
        rollout = SimpleNamespace(stop=lambda: self.stopped.append(self.deployment.id))
        self.deployments._rollouts._running[self.deployment.id] = cast(Rollout, rollout)

    def seen(self) -> dict[str, object]:
        """What everybody is told, and may do."""
        directory = self.accounts
        target = self.endpoints.by_access_key(self.endpoints.key_of(self.model))
        return {
            "users": directory.users(),
            "keys": [directory.keys_of(user) for user in directory.users()],
            "live": [self.endpoints.callers.is_valid(self.key.id)],
            "known": directory.principal(self.key_text, ""),
            "sessions": [directory.sessions_of(user) for user in directory.users()],
            "session": directory.session(self.token),
            "members": directory.members_of(self.project.id),
            "stranger sees": directory.may(self.bob, "project.edit", self.project.id),
            "visibility": directory._visibility.copy(),
            "target": target and (target.model, target.may_call),
            "stopped": self.stopped.copy(),
        }

    async def check_memory(self) -> None:
        """What is in memory is what a restart would find."""
        read, directory = self.database.read, self.accounts
        assert directory.users() == await read(store.users.list_all)
        keys = [key for user in directory.users() for key in directory.keys_of(user)]
        assert _by_id(keys) == _by_id(await read(store.keys.list_all))
        sessions = [each for user in directory.users() for each in directory.sessions_of(user)]
        assert _by_id(sessions) == _by_id(await read(store.sessions.list_all))
        members = [
            (project.id, user.id, role)
            for project in await read(store.projects.list_all)
            for user, role in directory.members_of(project.id)
        ]
        listed = await read(store.memberships.list_all)
        assert sorted(members) == sorted((m.project_id, m.user_id, m.role) for m in listed)
        for model in await read(store.models.list_all):
            target = self.endpoints.by_access_key(self.endpoints.key_of(model))
            assert target is not None
            assert (target.model, target.may_call) == (model, directory.may_call(model))


def _by_id(records: Sequence[store.Record]) -> dict[str, store.Record]:
    return {each.id: each for each in records}


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    async with opened(tmp_path, People, Clock()) as people:
        await people.arrive()
        yield people


Deed = Callable[[People], Awaitable[object]]
DEEDS: dict[str, Deed] = {
    "sign in": lambda p: p.sign_in.sign_in("Ada", PASSWORD, HERE),
    "sign out": lambda p: p.sign_in.sign_out(p.session),
    "change a password": lambda p: p.sign_in.change_password(p.ada, PASSWORD, NEW, HERE),
    "set a password": lambda p: p.users.set_password(p.ada, NEW, must_change=True),
    "make a user": lambda p: p.users.create(NewUser(name="Eve", password=PASSWORD)),
    "disable a user": lambda p: p.users.update(p.ada, {"disabled": True}),
    "make an administrator": lambda p: p.users.update(p.bob, {"administrator": True}),
    "delete a user": lambda p: p.users.delete(p.bob),
    "make a key": lambda p: p.keys.create(p.ada, NewKey(kind="model"), p.maker),
    "revoke a key": lambda p: p.keys.revoke(p.ada, "api", p.key.id),
    "revoke all keys": lambda p: p.keys.revoke_all(p.ada, "api"),
    "give a role": lambda p: p.collaborators.put(p.project, p.bob, "contributor"),
    "pass a project on": lambda p: p.collaborators.put(p.project, p.bob, "owner"),
    "take a role": lambda p: p.collaborators.remove(p.project, p.bob),
    "regenerate an access key": lambda p: p.models.regenerate_key(p.model),
    "change a model": lambda p: p.models.update(p.model, {"auth_enabled": False}),
    "delete a model": lambda p: p.models.delete(p.model),
    "change a project": lambda p: p.projects.update(p.project, {"visibility": "public"}),
    "delete a project": lambda p: p.projects.delete(p.project),
    "stop a deployment": lambda p: p.deployments.stop(p.deployment),
}


@pytest.mark.parametrize("name", DEEDS)
async def test_what_the_store_refuses_has_not_happened(
    people: People, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """While the write is under way and after it was refused, everything is as it was before; the
    same deed then succeeds, and is seen."""
    before, write = people.seen(), Database.write
    refused: list[bool] = []

    async def refuse(self: Database, work: Any, *args: Any, **named: Any) -> Any:
        if refused:
            return await write(self, work, *args, **named)
        await trio.lowlevel.checkpoint()
        refused.append(people.seen() == before)
        raise store.StoreFull("no room")

    monkeypatch.setattr(Database, "write", refuse)
    with pytest.raises(store.StoreFull):
        await DEEDS[name](people)
    assert refused == [True]
    assert people.seen() == before


# Those remove files as well, of which there are none here.
WITH_FILES = {"delete a model", "delete a project"}


@pytest.mark.parametrize("name", sorted(DEEDS.keys() - WITH_FILES))
async def test_what_was_done_is_seen(people: People, name: str) -> None:
    """When the deed returns, it holds: memory has what the store has, and callers of models are let
    in as the directory says."""
    before = people.seen()
    await DEEDS[name](people)
    assert people.seen() != before
    await people.check_memory()


# By name: the change, and what another request does between the check of a right and the write.
MEANWHILE: dict[str, tuple[Deed, Deed]] = {
    "the password changes": (DEEDS["sign in"], DEEDS["set a password"]),
    "the user is disabled": (DEEDS["sign in"], DEEDS["disable a user"]),
    "the link's user is disabled": (
        lambda p: p.sign_in.redeem(p.sign_in.new_link(p.ada), HERE),
        DEEDS["disable a user"],
    ),
    "the session that makes a key ends": (DEEDS["make a key"], DEEDS["sign out"]),
    "the user who gets a key is deleted": (
        lambda p: p.keys.create(p.bob, NewKey(kind="api"), p.maker),
        DEEDS["delete a user"],
    ),
}


def waiting(people: People) -> int:
    """How many wait to write who may do what, and have looked at what they need."""
    return people.lock.statistics().tasks_waiting


@pytest.mark.parametrize("name", MEANWHILE)
async def test_a_right_that_ends_meanwhile(people: People, name: str) -> None:
    """A change whose right has ended before it is written is refused."""
    asked, meanwhile = MEANWHILE[name]
    refused: list[str] = []

    async def ask() -> None:
        with pytest.raises((Refusal, store.NotFound)) as caught:
            await asked(people)
        refused.append(str(caught.value))

    over = trio.Event()

    async def change() -> None:
        await meanwhile(people)
        over.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery, people.lock:
            nursery.start_soon(change)
            while not (over.is_set() or waiting(people) == 1):  # noqa: ASYNC110
                await trio.sleep(0.001)
            nursery.start_soon(ask)
            while waiting(people) < (1 if over.is_set() else 2):  # noqa: ASYNC110
                await trio.sleep(0.001)
    assert len(refused) == 1
    await people.check_memory()
    assert len(people.accounts.keys_of(people.ada)) == 1


async def test_a_link_of_a_disabled_user_is_refused(people: People) -> None:
    """The link is refused as one that was used, and used up; another user's link stays valid."""
    link, other = people.sign_in.new_link(people.ada), people.sign_in.new_link(people.bob)
    await people.users.update(people.ada, {"disabled": True})
    for _ in range(2):
        with pytest.raises(Refusal, match="this link") as refused:
            await people.sign_in.redeem(link, HERE)
        assert refused.value.code == "auth.link_expired"
        await people.users.update(people.ada, {"disabled": False})
    found = people.accounts.session(await people.sign_in.redeem(other, HERE))
    assert found is not None
    assert found[1].id == people.bob.id


async def test_a_key_is_revoked_by_its_own_user_and_kind(people: People) -> None:
    """One of another user or kind is not found, and stays; all of a kind are those of one user."""
    bobs, _ = await people.keys.create(people.bob, NewKey(kind="api"), people.maker)
    model, _ = await people.keys.create(people.ada, NewKey(kind="model"), people.maker)
    for user, kind, key in (
        (people.ada, "api", bobs),
        (people.bob, "api", people.key),
        (people.ada, "api", model),
        (people.ada, "model", people.key),
    ):
        with pytest.raises(store.NotFound):
            await people.keys.revoke(user, cast(Any, kind), key.id)
    await people.keys.revoke_all(people.ada, "api")
    left = [people.accounts.keys_of(user) for user in (people.ada, people.bob)]
    assert left == [[model], [bobs]]
    await people.check_memory()


async def test_a_project_has_one_owner(people: People) -> None:
    """Its owner gets no other role there and does not leave, unless another is made the owner; in
    another project the same user may."""
    other = await people.projects.insert(
        people.bob, Project(name="q", path="/q", linked=True, creator="Bob")
    )
    for deed in (
        people.collaborators.put(people.project, people.ada, "viewer"),
        people.collaborators.remove(people.project, people.ada),
    ):
        with pytest.raises(Refusal, match="owner"):
            await deed
    await people.collaborators.put(other, people.ada, "viewer")
    await people.collaborators.remove(other, people.ada)
    await people.collaborators.put(people.project, people.bob, "owner")
    await people.collaborators.remove(people.project, people.ada)
    assert people.accounts.owner_of(people.project.id) == people.bob
    await people.check_memory()


async def test_a_start_finds_who_is_a_member(people: People) -> None:
    """What the next gateway knows of projects and members is what this one knew."""
    before = people.seen()
    people.accounts.forget_project(people.project.id)
    assert people.seen() != before
    await people.collaborators.recover()
    people.endpoints.refresh_permissions()
    assert people.seen() == before
