"""An older copy of a database is known as one, and nothing else is refused."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from sqlite3 import connect

import pytest
import trio
from trio.testing import MockClock

import store
from store import (
    Database,
    DatabaseOutdated,
    GenerationKeeper,
    StoreFull,
    check_generation,
    open_database,
)
from store.sqlite.migrate import load_migrations
from tests.faults.matrix import fault
from tests.support.records import a_project


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "generation"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


@asynccontextmanager
async def opened(path: Path, mark: Path) -> AsyncIterator[Database]:
    async with open_database(path, before=partial(check_generation, path=path, mark=mark)) as it:
        yield it


async def serve(path: Path, mark: Path) -> None:
    """Opens it as a gateway does that ends at once."""
    async with opened(path, mark) as database:
        await GenerationKeeper(database, mark).advance()


def older_schema(path: Path) -> None:
    """As it was before it had a generation."""
    with closing(connect(path)) as database:
        [(workspace_id,)] = database.execute("SELECT workspace_id FROM site").fetchall()
    path.unlink()
    with closing(connect(path)) as database, database:
        for script in load_migrations()[:8]:
            database.executescript(script)
        database.execute("DELETE FROM site")
        database.execute("INSERT INTO site (workspace_id) VALUES (?)", (workspace_id,))
        database.execute("PRAGMA user_version = 8")


def of_another_folder(path: Path) -> None:
    with closing(connect(path)) as database, database:
        database.execute("UPDATE site SET workspace_id = 'another', generation = 1000")


def nothing_in_it(path: Path) -> None:
    path.write_bytes(b"")


def nothing(_: Path) -> None:
    pass


@fault(
    "an older copy of the database",
    injection=(
        "a copy from before a later start, from before later changes, of an older schema, "
        "or of another folder"
    ),
    bound="the start is refused with what to do; the copy is not changed by a byte",
)
@pytest.mark.parametrize("change", [nothing, older_schema, of_another_folder, nothing_in_it])
async def test_older_copy_of_a_database_is_refused(
    database_path: Path, mark: Path, copy: Path, change: Callable[[Path], None]
) -> None:
    """A copy from before the last start, of an older schema, or of another folder is neither opened
    nor changed, and the error says how to accept it; then it is opened."""
    await serve(database_path, mark)
    shutil.copy(database_path, copy)
    await serve(database_path, mark)
    change(copy)
    shutil.copy(copy, database_path)
    before = database_path.read_bytes()
    with pytest.raises(DatabaseOutdated, match=f"remove {mark}"):
        await serve(database_path, mark)
    assert database_path.read_bytes() == before
    mark.unlink()
    await serve(database_path, mark)


async def test_copy_from_before_a_change_is_refused(
    database_path: Path, mark: Path, copy: Path
) -> None:
    """A write during operation makes older copies known too; without a write the file is left
    alone."""
    async with opened(database_path, mark) as database:
        generations = GenerationKeeper(database, mark)
        await generations.advance()
        first = mark.read_bytes()
        await generations.advance()
        assert mark.read_bytes() == first
        with closing(connect(database_path)) as source, closing(connect(copy)) as target:
            source.backup(target)
        await database.write(store.projects.insert, a_project())
        await generations.advance()
    shutil.copy(copy, database_path)
    with pytest.raises(DatabaseOutdated):
        await serve(database_path, mark)


async def test_generation_is_checked_at_once_and_every_minute(
    database: Database, mark: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The generation is written at once and once a minute; a full disk ends nothing."""
    times: list[float] = []

    async def full(*_: object) -> None:
        times.append(trio.current_time())
        raise StoreFull("full")

    monkeypatch.setattr(database, "write_if_space", full)
    with trio.move_on_after(130):
        await GenerationKeeper(database, mark).run()
    assert [round(each - times[0]) for each in times] == [0, 60, 120]
    assert not mark.exists()


async def test_kill_before_the_generation_file_refuses_nothing(
    database_path: Path, mark: Path
) -> None:
    """The database is advanced first: a kill before the file follows refuses nothing."""
    await serve(database_path, mark)
    before = mark.read_bytes()
    await serve(database_path, mark)
    mark.write_bytes(before)
    await serve(database_path, mark)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", None])
async def test_unreadable_generation_file_is_rewritten(
    database_path: Path, mark: Path, content: bytes | None
) -> None:
    """Where the file cannot be read the database is opened, and the file is written again."""
    await serve(database_path, mark)
    whole = mark.read_bytes()
    mark.unlink()
    if content is not None:
        mark.write_bytes(content)
    await serve(database_path, mark)
    assert len(mark.read_bytes()) == len(whole)
