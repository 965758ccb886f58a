"""Users, keys, sessions, memberships, the audit trail: what comes back, and what goes with whom."""

import sqlite3

import aiosqlite
import pytest

from store import (
    AuditEntry,
    Database,
    NameTaken,
    NotFound,
    Project,
    StoreFailed,
    User,
    audit,
    keys,
    memberships,
    new_id,
    projects,
    sessions,
    users,
)
from tests.support.records import a_key, a_session, a_user


@pytest.fixture
async def user(database: Database) -> User:
    return await database.write(users.insert, a_user("Ada"))


def an_entry(who: str = "ada", action: str = "model.stop") -> AuditEntry:
    return AuditEntry(who=who, address="127.0.0.1", request_id=new_id(), action=action, object="m")


async def test_user_names_differ_by_more_than_case(database: Database, user: User) -> None:
    """Names differ by more than their case."""
    with pytest.raises(NameTaken):
        await database.write(users.insert, a_user("aDA"))
    assert await database.read(users.list_all) == [user]


async def test_user_fields_can_be_changed(database: Database, user: User) -> None:
    """All fields can be changed and come back as what they were."""
    changed = await database.write(
        users.update, user.id, administrator=True, disabled=True, must_change_password=True
    )
    assert (changed.administrator, changed.disabled, changed.must_change_password) == (True,) * 3
    assert await database.read(users.list_all) == [changed]


async def test_deleted_user_takes_keys_and_sessions(
    database: Database, user: User, project: Project
) -> None:
    """A deleted user's keys, sessions and memberships are deleted; the audit entries stay."""
    key = await database.write(keys.insert, a_key(user))
    await database.write(sessions.insert, a_session(user))
    await database.write(memberships.put, project.id, user.id, "operator")
    entry = await database.write(audit.append, an_entry())
    await database.write(users.delete, user.id)
    with pytest.raises(NotFound):
        await database.read(keys.get, key.id)
    assert await database.read(sessions.list_all) == []
    assert await database.read(memberships.list_all) == []
    assert await database.read(audit.list_newest) == [entry]


async def test_keys_and_sessions_need_a_user(database: Database, project: Project) -> None:
    """Keys, sessions and memberships need an existing user."""
    unknown = a_user()
    for work, record in ((keys.insert, a_key(unknown)), (sessions.insert, a_session(unknown))):
        with pytest.raises(NotFound):
            await database.write(work, record)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        await database.write(memberships.put, project.id, unknown.id, "viewer")


async def test_project_has_one_owner_after_a_transfer(
    database: Database, user: User, project: Project
) -> None:
    """A user who transfers a project stays as an admin; the projects that a user owns are known."""
    heir = await database.write(users.insert, a_user("bob"))
    await database.write(memberships.put, project.id, user.id, "owner")
    assert await database.read(memberships.owned_by, user.id) == [project.id]
    await database.write(memberships.transfer, project.id, heir.id)
    now = {each.user_id: each.role for each in await database.read(memberships.list_all)}
    assert now == {user.id: "admin", heir.id: "owner"}
    assert await database.read(memberships.owned_by, user.id) == []


async def test_keys_are_deleted_by_kind(database: Database, user: User) -> None:
    """Keys are deleted by kind, and those of other users stay."""
    other = await database.write(users.insert, a_user())
    mine = [await database.write(keys.insert, a_key(user, kind)) for kind in ("model", "api")]
    stays = await database.write(keys.insert, a_key(other))
    assert await database.write(keys.delete_all, user.id, ["model", "legacy"]) == mine[:1]
    assert await database.read(keys.list_all) == [mine[1], stays]
    assert await database.read(keys.list_all, user.id) == [mine[1]]


async def test_sessions_end_one_or_all(database: Database, user: User) -> None:
    """One session is ended, also twice, or all of a user's; the clock ends none."""
    past = await database.write(sessions.insert, a_session(user, "2001-01-01T00:00:00.000000Z"))
    others = await database.write(users.insert, a_user("bob"))
    kept = await database.write(sessions.insert, a_session(others))
    first, second = [await database.write(sessions.insert, a_session(user)) for _ in range(2)]
    assert await database.read(sessions.list_all) == [past, kept, first, second]
    await database.write(sessions.end, past.id)
    for _ in range(2):
        await database.write(sessions.end, first.id)
    assert await database.read(sessions.list_all) == [kept, second]
    await database.write(sessions.end_all, user.id)
    assert await database.read(sessions.list_all) == [kept]


async def test_user_has_one_role_in_each_project(
    database: Database, user: User, project: Project
) -> None:
    """A second role replaces the first; a deleted project deletes its memberships."""
    await database.write(memberships.put, project.id, user.id, "viewer")
    now = await database.write(memberships.put, project.id, user.id, "admin")
    assert await database.read(memberships.list_all, project.id) == [now]
    await database.write(memberships.remove, project.id, user.id)
    with pytest.raises(NotFound):
        await database.write(memberships.remove, project.id, user.id)
    await database.write(memberships.put, project.id, user.id, "admin")
    await database.write(projects.delete, project.id)
    assert await database.read(memberships.list_all) == []


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'eve'", "DELETE FROM audit"])
async def test_audit_log_is_append_only(database: Database, statement: str) -> None:
    """An entry can be neither changed nor deleted, in any way."""

    async def tamper(connection: aiosqlite.Connection) -> None:
        await connection.execute(statement)

    entry = await database.write(audit.append, an_entry())
    with pytest.raises((StoreFailed, sqlite3.Error), match="only ever added to"):
        await database.write(tamper)
    assert await database.read(audit.list_newest) == [entry]


async def test_audit_log_is_read_in_pages(database: Database) -> None:
    """Entries are read by user and by action, the newest first, in the order in which they
    happened."""
    made = [
        await database.write(audit.append, an_entry(who, action))
        for who, action in (("ada", "model.stop"), ("bob", "model.stop"), ("ada", "key_make"))
    ]
    assert await database.read(audit.list_newest, most=2) == made[1:]
    assert await database.read(audit.list_newest, who="ada") == [made[0], made[2]]
    assert await database.read(audit.list_newest, action="model.") == made[:2]
    assert await database.read(audit.list_newest, action="key%") == []
    assert await database.read(audit.list_newest, after=made[0].number, before=made[2].number) == [
        made[1]
    ]
