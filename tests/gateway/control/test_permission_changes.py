"""The one operation that changes permissions: check, write, then update memory."""

import ast
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest
import trio

import store
from gateway.control.accounts.users import NewUser
from gateway.control.permission_changes import PermissionIndex
from gateway.errors import Refusal
from gateway.identity.accounts import Accounts
from gateway.predictions.endpoints import Endpoints
from store import User
from tests.support.control_stage import HERE, PASSWORD, Clock, ControlStage, opened

GATEWAY = Path(__file__).parents[3] / "gateway"
# Only these files change what memory knows of permissions: the index and its two halves.
OWNERS = {
    "control/permission_changes.py",
    "identity/accounts.py",
    "predictions/endpoints.py",
}
MUTATORS = {
    *(name for name in vars(Accounts) if name.startswith(("put_", "forget_", "end_"))),
    *(name for name in vars(Endpoints) if name.startswith(("put_", "forget_", "refresh_"))),
}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ControlStage]:
    async with opened(tmp_path, ControlStage, Clock()) as stage:
        yield stage


def called(path: Path) -> set[str]:
    """The names of all attributes that a file uses."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_only_permission_changes_update_memory() -> None:
    """No other code of the gateway calls what changes the permissions in memory."""
    assert len(MUTATORS) >= 14
    strangers = {
        (name, str(path.relative_to(GATEWAY)))
        for path in GATEWAY.rglob("*.py")
        for name in called(path) & MUTATORS
    }
    assert {(name, path) for name, path in strangers if path not in OWNERS} == set()


async def insert_user(connection: aiosqlite.Connection, name: str) -> User:
    return await store.users.insert(connection, User(name=name))


async def test_memory_is_updated_after_the_write(stage: ControlStage) -> None:
    """The check comes before the write, and memory follows what was written."""
    order = []

    async def write(connection: aiosqlite.Connection) -> User:
        order.append("write")
        return await insert_user(connection, "Ada")

    def update(index: PermissionIndex, user: User) -> None:
        order.append("update")
        index.user_changed(user)

    made = await stage.permissions.apply(write, update, check=lambda: order.append("check"))
    assert order == ["check", "write", "update"]
    assert stage.accounts.user("ada") == made


async def test_a_failed_check_writes_nothing(stage: ControlStage) -> None:
    """What the check raises is raised; neither the store nor memory has changed."""

    def refuse() -> None:
        raise Refusal("state.conflict", "no")

    with pytest.raises(Refusal, match="no"):
        await stage.permissions.apply(
            lambda connection: insert_user(connection, "Ada"),
            PermissionIndex.user_changed,
            check=refuse,
        )
    assert stage.accounts.user("ada") is None
    assert [user.name for user in await stage.database.read(store.users.list_all)] == ["admin"]


async def test_a_failed_write_updates_nothing(stage: ControlStage) -> None:
    """What the write raises is raised, and memory is as it was."""

    async def fail(connection: aiosqlite.Connection) -> User:
        await insert_user(connection, "Ada")
        raise store.StoreFull("no room")

    with pytest.raises(store.StoreFull):
        await stage.permissions.apply(fail, PermissionIndex.user_changed)
    assert stage.accounts.user("ada") is None


async def test_changes_are_applied_in_the_order_of_their_writes(stage: ControlStage) -> None:
    """Of changes at once, the last to be written is the last that memory sees."""
    user = await stage.permissions.apply(
        lambda connection: insert_user(connection, "Ada"), PermissionIndex.user_changed
    )
    written: list[str] = []

    async def rename(text: str) -> None:
        async def write(connection: aiosqlite.Connection) -> User:
            written.append(text)
            return await store.users.update(connection, user.id, full_name=text)

        await stage.permissions.apply(write, PermissionIndex.user_changed)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(rename, str(number))
    now = stage.accounts.user("ada")
    assert now is not None
    assert now.full_name == written[-1]
    assert now == await stage.database.read(store.users.get, user.id)


async def test_no_change_begins_while_another_is_written(stage: ControlStage) -> None:
    """Signing out waits as any change does, so that it is not overtaken by an older one."""
    user, _ = await stage.users.create(NewUser(name="Ada", password=PASSWORD))
    token = await stage.sign_in.sign_in("Ada", PASSWORD, HERE)
    found = stage.accounts.session(token)
    assert found is not None
    async with trio.open_nursery() as nursery, stage.lock:
        nursery.start_soon(stage.sign_in.sign_out, found[0])
        while not stage.lock.statistics().tasks_waiting:  # noqa: ASYNC110
            await trio.sleep(0.001)
        assert stage.accounts.sessions_of(user)
    assert not stage.accounts.sessions_of(user)
