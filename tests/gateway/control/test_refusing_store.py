"""What the store refuses has not happened: everybody sees what they saw before.

Each change of who may do what is written first and told then. Where the disk does not take it, the
client is refused; if memory knew of it already, it would be true until the next start alone.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

import store
from gateway.control.carrying import Carrying
from gateway.control.deployments import Deployments
from gateway.control.house import House
from gateway.control.keys import Keys, NewKey
from gateway.control.members import Members
from gateway.control.models import Models
from gateway.control.projects import Projects
from gateway.control.users import NewUser
from gateway.grants import Principal
from store import Database, Deployment, Key, Model, Project, Session, User
from tests.gateway.control.test_sign_in import HERE, PASSWORD, Clock, Stage, opened, quick

__all__ = ["quick"]
NEW = "another one, longer"


class People(Stage):
    """The parts that change who may do what, and two of each kind to change."""

    ada: User
    bob: User
    project: Project
    model: Model
    deployment: Deployment
    session: Session
    token: str
    key: Key
    stopped: list[str]

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.site = SimpleNamespace(follow=lambda told: None)
        self.data = SimpleNamespace()

    async def arrive(self) -> None:
        self.ada, self.bob = [
            (await self.users.create(NewUser(name=name, password=PASSWORD)))[0]
            for name in ("Ada", "Bob")
        ]
        house = cast(House, self)
        self.keys, self.members = Keys(house), Members(house)
        builds = cast(Any, None)
        self.deployments = Deployments(house, builds)
        self.models = Models(house, builds, self.deployments)
        self.projects = Projects(house, self.models, cast(Any, None))
        asked = Project(name="p", path="/p", linked=True, creator="Ada")
        self.project = await self.projects._insert(self.ada, asked)
        size = {"cpu_millicores": 1, "memory_mb": 1, "replicas": 1}
        given = Model(project_id=self.project.id, name="m", creator="Ada", **size)  # type: ignore[arg-type]
        self.model = await self.database.write(store.models.insert, given)
        self.routes.put(self.model)
        self.token = await self.sign_in.sign_in("Ada", PASSWORD, HERE)
        found = self.directory.session(self.token)
        assert found is not None
        self.session = found[0]
        self.maker = Principal(self.ada, "session", "", session=self.session)
        self.key, self.key_text = await self.keys.create(self.ada, NewKey(kind="api"), self.maker)
        await self.members.put(self.project, self.bob, "viewer")
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
        carrying = SimpleNamespace(stop=lambda: self.stopped.append(self.deployment.id))
        self.deployments._carryings[self.deployment.id] = cast(Carrying, carrying)

    def seen(self) -> dict[str, object]:
        """What everybody is told, and may do."""
        directory = self.directory
        target = self.routes.by_access_key(self.routes.key_of(self.model))
        return {
            "users": directory.users(),
            "keys": [directory.keys_of(user) for user in directory.users()],
            "live": [self.routes.callers.is_live(self.key.id)],
            "known": directory.principal(self.key_text, ""),
            "sessions": [directory.sessions_of(user) for user in directory.users()],
            "session": directory.session(self.token),
            "members": directory.members_of(self.project.id),
            "stranger sees": directory.may(self.bob, "project.edit", self.project.id),
            "visibility": directory._visibility.copy(),
            "target": target and (target.model, target.may_call),
            "stopped": self.stopped.copy(),
        }


@pytest.fixture
async def people(quick: Clock, tmp_path: Path) -> AsyncIterator[People]:
    async with opened(tmp_path, People) as stage:
        people = cast(People, stage)
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
    "give a role": lambda p: p.members.put(p.project, p.bob, "contributor"),
    "pass a project on": lambda p: p.members.put(p.project, p.bob, "owner"),
    "take a role": lambda p: p.members.remove(p.project, p.bob),
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


@pytest.mark.parametrize("name", [name for name in DEEDS if not name.startswith("delete a")])
async def test_what_was_done_is_seen(people: People, name: str) -> None:
    """When the deed returns, it holds: in memory and on the disk."""
    before, changes = people.seen(), people.database._connections._writer.total_changes
    await DEEDS[name](people)
    assert people.seen() != before
    assert people.database._connections._writer.total_changes > changes
