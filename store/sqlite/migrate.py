"""Brings the schema up to date by numbered SQL files.

`PRAGMA user_version` counts the migrations that a database has had. All that it has not had run in
one transaction with the change of that number, so a crash or a failure leaves the older schema. In
a transaction each, those of a new database took half of a gateway's start, waiting for the disk.

A database with a newer schema is refused before anything in it is changed. One with an older schema
is first copied, so that the older predictd can still be used with the copy.
"""

import logging
import os
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import aiosqlite

from store.errors import SchemaTooNew
from store.fsync import fsync

logger = logging.getLogger(__name__)

_INCREMENTAL = 2  # as `PRAGMA auto_vacuum` reports it


def load_migrations() -> list[str]:
    """Return the SQL of all migrations; the first brings an empty database to schema 1."""
    folder = files("store.sqlite") / "migrations"
    scripts = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [script.read_text("utf-8") for script in sorted(scripts, key=lambda entry: entry.name)]


async def migrate(connection: aiosqlite.Connection, path: Path) -> None:
    """Run the migrations that the database at `path` has not had. Raises SchemaTooNew."""
    ((found,),) = await connection.execute_fetchall("PRAGMA user_version")
    migrations = load_migrations()
    if found > len(migrations):
        raise SchemaTooNew(path, found, len(migrations))
    if 0 < found < len(migrations):
        _copy(path, copy_before(path, found))
    # Lets free pages be given back to the disk. Takes effect before the first table, or by VACUUM.
    await connection.execute_fetchall("PRAGMA auto_vacuum = INCREMENTAL")
    if found < len(migrations):
        await _run(connection, migrations[found:], len(migrations))
    ((vacuum,),) = await connection.execute_fetchall("PRAGMA auto_vacuum")
    if 0 < found < len(migrations) and vacuum != _INCREMENTAL:
        await connection.execute_fetchall("VACUUM")


def copy_before(path: Path, schema: int) -> Path:
    """Return the path of the copy that is made before a database leaves this schema."""
    return path.with_name(f"{path.name}.schema-{schema}")


def _copy(path: Path, target: Path) -> None:
    """Write a complete copy before it gets its name."""
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(path)) as database, closing(sqlite3.connect(fresh)) as copy:
        database.backup(copy)
    fsync(fresh)
    fresh.rename(target)
    fsync(target.parent)
    logger.info("database.copied_before_migration path=%r", str(target))


async def _run(connection: aiosqlite.Connection, scripts: list[str], version: int) -> None:
    # executescript first commits an open transaction, so the script has its own (gotcha G4).
    body = "\n".join(scripts)
    script = f"BEGIN IMMEDIATE;\n{body}\nPRAGMA user_version = {version};\nCOMMIT;"
    try:
        await connection.executescript(script)
    except BaseException:
        await connection.rollback()
        raise
