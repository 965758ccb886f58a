"""A disk that fails now and then: what was acknowledged stays, what was refused never happened."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from store import Ballast, Project, StoreDamaged, StoreFull, open_database, projects
from store.data_folder.lock import lock_data_folder
from store.sqlite import migrate
from tests.faults.matrix import fault
from tests.support.disks import fill, need_strace, small_disk, traced
from tests.support.records import a_project

WRITER = [sys.executable, "-m", "tests.store.sqlite.stubborn_writer"]
WRITES = 40


@fault(
    "a commit that fails, then a kill",
    injection="EIO in the commit",
    bound="the refused transaction never comes true",
)
@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync,fsync:error=EIO:when=20+7",
        "fdatasync,fsync:error=EIO:when=20+2",
        "pwrite64:error=EIO:when=60+13",
        "pwrite64:error=ENOSPC:when=60+13",
        "pwrite64:error=EROFS:when=60+13",
        "pwrite64:retval=0:when=60+13",
    ],
)
async def test_refused_write_is_absent_after_a_kill(tmp_path: Path, fault: str) -> None:
    """After a kill right after a write that the disk failed, that write is absent at the next
    opening, and each acknowledged one is there."""
    need_strace()
    # Made while the disk is well, so that however much that takes, it is writes that fail.
    async with open_database(tmp_path / "predictd.db"):
        pass
    command = traced(fault, [*WRITER, str(tmp_path), str(WRITES)])
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60)
    said = [line.split() for line in told.stdout.splitlines()]
    acknowledged = {name for word, name in said if word == "done"}
    refused = {name for word, name in said if word == "refused"}
    assert refused
    assert len(acknowledged) + len(refused) <= WRITES
    assert said[-1][0] == "refused", "it was to be killed right after a refusal"
    with closing(sqlite3.connect(tmp_path / "predictd.db")) as connection:
        stored = {row[0] for row in connection.execute("SELECT name FROM projects")}
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert stored == acknowledged


async def test_torn_log_loses_no_acknowledged_write(tmp_path: Path) -> None:
    """For any part of the log after its last sync that a power cut leaves, every acknowledged
    write is there, in order, and nothing else but whole later writes."""
    path = tmp_path / "predictd.db"
    log = tmp_path / "predictd.db-wal"
    safe: list[tuple[str, int]] = []  # what was acknowledged, and how much was synced by then
    async with open_database(path) as database:
        for number in range(6):
            name = f"{number}"
            await database.write(projects.insert, a_project(name))
            safe.append((name, log.stat().st_size))
        whole, base = log.read_bytes(), path.read_bytes()
    names = [name for name, _ in safe]
    for count, (_, synced) in enumerate(safe, start=1):
        rest = whole[synced:]
        tails = [b"", rest[:1], rest[: len(rest) // 2], rest[:-1], bytes(len(rest)), rest[::-1]]
        for tail in tails:
            torn = tmp_path / "torn"
            torn.mkdir()
            (torn / path.name).write_bytes(base)
            (torn / log.name).write_bytes(whole[:synced] + tail)
            async with open_database(torn / path.name) as database:
                found = [project.name for project in await database.read(projects.list_all)]
            assert found == names[: len(found)]
            assert len(found) >= count
            shutil.rmtree(torn)


async def test_full_disk_uses_the_ballast_once(tmp_path: Path) -> None:
    """A write that finds the disk full uses the ballast, once; without one it fails, and writes
    continue as soon as there is free space."""
    with small_disk(tmp_path / "disk", "size=40m") as disk:
        ballast = Ballast(disk / "ballast")
        ballast.allocate()
        path = disk / "predictd.db"
        async with open_database(path, free_space=ballast.release) as database:
            await database.write(projects.insert, a_project("first"))
            first = fill(disk, "first")
            with pytest.raises(StoreFull):
                await database.write_if_space(projects.insert, a_project("x" * 100_000))
            assert ballast.allocated
            await database.write(projects.insert, a_project("x" * 100_000))
            assert not ballast.allocated
            second = fill(disk, "second")
            with pytest.raises(StoreFull):
                await database.write(projects.insert, a_project("y" * 100_000))
            second.unlink()
            await database.write(projects.insert, a_project("y" * 100_000))
            first.unlink()
            assert len(await database.read(projects.list_all)) == 3


async def damaged(path: Path) -> str:
    """What the start says about it."""
    with pytest.raises(StoreDamaged) as told:
        async with open_database(path):
            pytest.fail("it was opened")
    return str(told.value)


@fault(
    "a damaged database",
    injection="bytes overwritten",
    bound="the start is refused, with what to do",
)
async def test_damaged_database_is_refused(database_path: Path) -> None:
    """A page of zeros, a lost reference or a file that is no database stops the start with what to
    do, and not a byte is changed."""
    async with open_database(database_path) as database:
        for number in range(50):
            await database.write(projects.insert, a_project(f"{number}"))
    good = database_path.read_bytes()
    with closing(sqlite3.connect(database_path)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name='projects'")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    start = (root - 1) * size
    for bad in (
        good[:start] + bytes(size) + good[start + size :],
        good[: len(good) // 2],
        b"not a database " * 1000,
    ):
        database_path.write_bytes(bad)
        said = await damaged(database_path)
        assert "Restore a backup" in said
        assert str(database_path) in said
        assert database_path.read_bytes() == bad


async def test_lost_reference_is_damage(database_path: Path) -> None:
    """The row whose owner is gone is named."""
    async with open_database(database_path):
        pass
    with closing(sqlite3.connect(database_path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE orphans (of TEXT REFERENCES projects (id))")
        connection.execute("INSERT INTO orphans VALUES ('nobody')")
    assert "row 1 of orphans refers to a missing row of projects" in await damaged(database_path)


async def test_database_is_copied_before_an_upgrade(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a migration the database is copied, once; the copy opens with the older code, the
    original with the newer."""
    async with open_database(database_path) as database:
        kept: Project = await database.write(projects.insert, a_project("kept"))
    older = migrate.load_migrations()
    newer = [*older, "CREATE TABLE more (x);", "CREATE TABLE still_more (x);"]
    monkeypatch.setattr(migrate, "load_migrations", lambda: newer)
    for _ in range(2):
        async with open_database(database_path) as database:
            assert await database.read(projects.list_all) == [kept]
    copy = migrate.copy_before(database_path, len(older))
    assert copy.stat().st_mode & 0o077 == 0
    assert {file.name for file in database_path.parent.iterdir()} == {"predictd.db", copy.name}
    monkeypatch.setattr(migrate, "load_migrations", lambda: older)
    with lock_data_folder(database_path.parent):
        async with open_database(copy) as database:
            assert await database.read(projects.list_all) == [kept]


async def test_interrupted_upgrade_is_repeated_at_the_next_start(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade that fails half-way leaves the older schema, and is repeated at the next start;
    the copy has the schema from before."""
    async with open_database(database_path) as database:
        kept: Project = await database.write(projects.insert, a_project("kept"))
    older = migrate.load_migrations()
    broken = [*older, "CREATE TABLE more (x);", "CREATE TABLE more (x);"]
    monkeypatch.setattr(migrate, "load_migrations", lambda: broken)
    with pytest.raises(Exception, match="already exists"):
        async with open_database(database_path):
            pytest.fail("it was opened")
    with closing(sqlite3.connect(database_path)) as database_file:
        assert database_file.execute("PRAGMA user_version").fetchone() == (len(older),)
        assert not database_file.execute("PRAGMA table_info(more)").fetchall()
    mended = [*older, "CREATE TABLE more (x);", "CREATE TABLE still_more (x);"]
    monkeypatch.setattr(migrate, "load_migrations", lambda: mended)
    async with open_database(database_path) as database:
        assert await database.read(projects.list_all) == [kept]
    with closing(sqlite3.connect(migrate.copy_before(database_path, len(older)))) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (len(older),)
