"""Schemas: made whole, never taken back, and the same as the records."""

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

import store
from store import (
    Build,
    Deployment,
    Experiment,
    Model,
    Project,
    SchemaTooNew,
    StoreFailed,
    open_database,
)
from store.records import Record
from store.sqlite.migrate import load_migrations, migrate
from tests.faults.matrix import fault

TABLES: dict[str, type[Record]] = {
    "projects": Project,
    "models": Model,
    "builds": Build,
    "deployments": Deployment,
    "experiments": Experiment,
}


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_migrations_are_numbered_by_the_schema_they_make() -> None:
    """Each has a number of its own, without gaps: two of one number would run in any order."""
    folder = files("store.sqlite") / "migrations"
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".sql"))
    numbers = [int(name.partition("_")[0]) for name in names]
    assert numbers == [*range(1, len(load_migrations()) + 1)]


async def test_columns_are_fields(database_path: Path) -> None:
    """Each table has its record's fields as columns; only models count builds beside."""
    async with open_database(database_path):
        pass
    for table, record in TABLES.items():
        columns = {row[1] for row in ask(database_path, f"PRAGMA table_info({table})")}
        beside = {"next_build_number"} if table == "models" else set()
        assert columns == {*record.__struct_fields__} | beside


@fault(
    "a schema newer than the code",
    injection="a database of a later version",
    bound="refused, untouched",
)
async def test_newer_schema_is_refused(database_path: Path) -> None:
    """A database of a newer predictd is named as such and not changed by a byte."""
    newer = len(load_migrations()) + 1
    ask(database_path, f"PRAGMA user_version = {newer}")
    before = database_path.read_bytes()
    with pytest.raises(SchemaTooNew) as caught:
        async with open_database(database_path):
            pytest.fail("it was opened")
    assert (caught.value.found, caught.value.known) == (newer, newer - 1)
    assert database_path.read_bytes() == before


async def test_current_database_is_not_migrated(database_path: Path) -> None:
    """An up-to-date database is left alone, and reports its schema version."""
    for _ in range(2):
        async with open_database(database_path):
            pass
    assert ask(database_path, "PRAGMA user_version") == [(len(load_migrations()),)]


@fault(
    "a migration that fails",
    injection="at its last statement",
    bound="no trace of its first",
)
async def test_migration_is_whole_or_absent(database_path: Path) -> None:
    """A migration that fails at its last statement leaves no trace of its first."""
    ask(database_path, "CREATE TABLE deployments (the_name_is_taken)")
    before = ask(database_path, "SELECT name FROM sqlite_schema")
    with pytest.raises(StoreFailed, match="deployments"):
        async with open_database(database_path):
            pytest.fail("it was opened")
    assert ask(database_path, "SELECT name FROM sqlite_schema") == before
    assert ask(database_path, "PRAGMA user_version") == [(0,)]


def test_migrations_are_numbered() -> None:
    """Migration files are numbered from 0001 without a gap, in the order in which they run."""
    folder = Path(migrate.__code__.co_filename).parent / "migrations"
    numbers = sorted(file.name[:5] for file in folder.iterdir())
    assert numbers == [f"{number:04}_" for number in range(1, len(load_migrations()) + 1)]


async def test_settings_keep_their_values_under_new_names(database_path: Path) -> None:
    """Settings that were set at run time before they were renamed have their values afterwards."""
    with closing(sqlite3.connect(database_path)) as connection:
        for version, sql in enumerate(load_migrations()[:11], start=1):
            connection.executescript(f"BEGIN;{sql};PRAGMA user_version = {version};COMMIT;")
        connection.executemany(
            "INSERT INTO site_settings (name, value) VALUES (?, ?)",
            [("request_limit", "6291456"), ("max_memory", "1000"), ("max_replicas", "5")],
        )
        connection.commit()
    async with open_database(database_path) as database:
        assert await database.read(store.site.settings) == {
            "max_request_size": 6291456,
            "recycle_above_memory": 1000,
            "max_replicas": 5,
        }
