"""The whole database as a file, copied and checked page by page, in bounded memory.

SQLite's own backup makes the copy, some pages at a time, within the reader's one consistent view:
writers go on meanwhile and are not in it. Until it is done the log keeps what they write.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import aiosqlite

from store.errors import SchemaTooNew, StoreFailed
from store.sqlite.migrate import load_migrations

# In one step, in which no other thread that asks this connection gets its turn: 1 MiB.
_PAGES = 256


async def size(connection: aiosqlite.Connection) -> int:
    """Return how many bytes a copy takes."""
    ((pages,),) = await connection.execute_fetchall("PRAGMA page_count")
    ((page,),) = await connection.execute_fetchall("PRAGMA page_size")
    return int(pages) * int(page)


async def write(connection: aiosqlite.Connection, path: Path) -> None:
    """Copy the database, as it stands in this transaction, to `path`, an empty file. The copy may
    be lost with the power: who keeps it syncs it."""
    # The view stands from the first read on. Without it each step would have one of its own, and
    # the copy begin again with each write of others.
    await connection.execute_fetchall("SELECT count(*) FROM sqlite_master")
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as target:
        target.execute("PRAGMA synchronous = OFF")
        await connection.backup(target, pages=_PAGES)


def check(shown: Path, path: Path) -> None:
    """Raise StoreFailed for a damaged copy at `path`, SchemaTooNew for one of a newer predictd; the
    error names `shown`. The file is only read, and none is made beside it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as found:
            (version,) = found.execute("PRAGMA user_version").fetchone()
            problems = [row[0] for row in found.execute("PRAGMA integrity_check")]
            strangers = found.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        raise StoreFailed(f"{shown}: {error}") from error
    if problems != ["ok"] or strangers:
        raise StoreFailed(f"{shown}: {'; '.join(problems)}")
    if version > len(load_migrations()):
        raise SchemaTooNew(shown, version, len(load_migrations()))
