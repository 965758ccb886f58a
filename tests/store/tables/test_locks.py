"""The locks of builds: stored once for equal texts, as long as a build has them."""

import aiosqlite

from store import Build, Database, Model, StoredLock, builds, models
from tests.support.records import a_build

LOCK = StoredLock(id="ab", text="packages = []", packages=2)


async def finished(database: Database, model: Model, lock: StoredLock | None) -> Build:
    build = await database.write(builds.insert, a_build(model))
    await database.write(builds.advance, build.id, "snapshotted", snapshot="c")
    await database.write(builds.advance, build.id, "started")
    return await database.write(builds.finish, build.id, lock, steps=[])


async def test_finished_build_has_its_lock(database: Database, model: Model) -> None:
    """A build that is built has the lock, how many packages it has, and its text; or none."""
    build = await finished(database, model, LOCK)
    assert (build.status, build.lock_id, build.packages) == ("built", "ab", 2)
    assert build.built_at
    assert await database.read(builds.lock, build.id) == LOCK.text
    without = await finished(database, model, None)
    assert (without.status, without.lock_id, without.packages) == ("built", "", None)
    assert await database.read(builds.lock, without.id) == ""
    assert await database.read(builds.lock, "unknown") == ""


async def test_lock_is_stored_while_a_build_has_it(database: Database, model: Model) -> None:
    """Builds with equal environments share one lock, which is deleted with the last of them, also
    when their model is deleted."""
    one, two = [await finished(database, model, LOCK) for _ in range(2)]

    async def stored() -> list[str]:
        async def read(connection: aiosqlite.Connection) -> list[str]:
            rows = await connection.execute_fetchall("SELECT id FROM locks")
            return [str(row[0]) for row in rows]

        return await database.read(read)

    await database.write(builds.delete, one.id)
    assert await stored() == ["ab"]
    await database.write(models.delete, model.id)
    assert two.lock_id == "ab"
    assert await stored() == []
