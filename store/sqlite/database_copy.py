"""A copy of the whole database as a file, made and checked page by page, in bounded memory.

SQLite's backup makes the copy, some pages at a time, within the reader's one consistent view. Later
writes are not in it. Until the copy is done they stay in the log.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import aiosqlite

from store.errors import SchemaTooNew, StoreFailed
from store.sqlite.migrate import load_migrations

# In one step, during which no other thread can use this connection: 1 MiB.
_PAGES = 256


async def size(connection: aiosqlite.Connection) -> int:
    """Return the size of a copy in bytes."""
    ((pages,),) = await connection.execute_fetchall("PRAGMA page_count")
    ((page,),) = await connection.execute_fetchall("PRAGMA page_size")
    return int(pages) * int(page)


async def write(connection: aiosqlite.Connection, path: Path) -> None:
    """Copy the database, as of this transaction, to `path`, an empty file.

    The copy is not synced: the caller syncs it before it relies on it.
    """
    # The first read fixes the view. Without it each step would have its own view, and each write
    # of others would restart the copy.
    await connection.execute_fetchall("SELECT count(*) FROM sqlite_master")
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as target:
        target.execute("PRAGMA synchronous = OFF")
        await connection.backup(target, pages=_PAGES)


def check(shown: Path, path: Path) -> None:
    """Raise StoreFailed for a damaged copy at `path`, SchemaTooNew for one of a newer predictd.

    The error names `shown`. The file is only read, and no other file is made beside it.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as found:
            (version,) = found.execute("PRAGMA user_version").fetchone()
            problems = [row[0] for row in found.execute("PRAGMA integrity_check")]
            orphans = found.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        raise StoreFailed(f"{shown}: {error}") from error
    if problems != ["ok"] or orphans:
        raise StoreFailed(f"{shown}: {'; '.join(problems)}")
    if version > len(load_migrations()):
        raise SchemaTooNew(shown, version, len(load_migrations()))
