"""The schema, brought up to date by numbered SQL files.

`PRAGMA user_version` says which migrations a database has had. Each runs in one transaction with
the change of that number, so a crash leaves it done or not begun.

Refuses: a database with a schema newer than this code, before changing anything in it.
"""

from importlib.resources import files
from pathlib import Path

import aiosqlite

from store.errors import SchemaTooNew


def load_migrations() -> list[str]:
    """Return the SQL of all migrations; the first brings an empty database to schema 1."""
    folder = files("store") / "migrations"
    scripts = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [script.read_text("utf-8") for script in sorted(scripts, key=lambda entry: entry.name)]


async def migrate(connection: aiosqlite.Connection, path: Path) -> None:
    """Run the migrations that the database at `path` has not had. Raises SchemaTooNew."""
    ((found,),) = await connection.execute_fetchall("PRAGMA user_version")
    migrations = load_migrations()
    if found > len(migrations):
        raise SchemaTooNew(path, found, len(migrations))
    for version, sql in enumerate(migrations[found:], start=found + 1):
        await _run(connection, sql, version)


async def _run(connection: aiosqlite.Connection, sql: str, version: int) -> None:
    # executescript commits what was begun before it, so the script brings its own (gotcha G4).
    script = f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {version};\nCOMMIT;"
    try:
        await connection.executescript(script)
    except BaseException:
        await connection.rollback()
        raise
