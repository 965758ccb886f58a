"""The whole database as the bytes of a file, and what can be learnt of such bytes.

SQLite's own backup makes the copy, page by page, within the reader's one consistent view: writers
go on meanwhile and are not in it.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import aiosqlite

from store.errors import SchemaTooNew, StoreFailed
from store.migrate import load_migrations

# Bytes 18 and 19 of the file say how it is written: 1 is a journal, 2 is WAL. An image has no -wal
# beside it, and one that says 2 cannot be opened in memory.
_MODE = slice(18, 20)


async def image(connection: aiosqlite.Connection) -> bytes:
    """Return the database as it stands in this transaction."""
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as copy:
        await connection.backup(copy)
        data = copy.serialize()
    # The copy is closed by now: with metrics in it, it may be large.
    return b"".join((data[: _MODE.start], b"\1\1", memoryview(data)[_MODE.stop :]))


def check_image(path: Path, data: bytes) -> None:
    """Raise StoreFailed for a damaged image, SchemaTooNew for one of a newer predictd."""
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(data)
            (found,) = database.execute("PRAGMA user_version").fetchone()
            problems = [row[0] for row in database.execute("PRAGMA integrity_check")]
            strangers = database.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        raise StoreFailed(f"{path}: {error}") from error
    if problems != ["ok"] or strangers:
        raise StoreFailed(f"{path}: {'; '.join(problems)}")
    if found > len(load_migrations()):
        raise SchemaTooNew(path, found, len(load_migrations()))
