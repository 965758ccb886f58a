"""The SQLite connections: one that writes and a few that read, all on the asyncio loop.

Law: a transaction is committed as a whole or not at all, and no transaction sees or ends another.
The writer serves one transaction at a time. A reader sees the database as of its first statement,
regardless of later writes.

Only the writer checkpoints, and it is closed last (gotcha G3).

On a full disk the store releases its reserved space once. After a failed commit its frames in the
log are overwritten, so that a refused change does not appear after a kill (gotcha G9).
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import aiosqlite

from store.errors import StoreDamaged, StoreFailed, StoreFull
from store.sqlite.check import check
from store.sqlite.migrate import migrate
from store.sqlite.shared_memory import allocate_shared_memory

Value = TypeVar("Value")
Work = Callable[[aiosqlite.Connection], Awaitable[Value]]

logger = logging.getLogger(__name__)

READERS = 2
# Free pages that stay in the file for later writes; and pages freed in one transaction.
SPARE_PAGES, PAGES_AT_ONCE = 1024, 256
BUSY_TIMEOUT = "busy_timeout = 5000"  # ms; an operator may use sqlite3 on the same file
WRITER_PRAGMAS = (
    BUSY_TIMEOUT,
    "journal_mode = WAL",
    "synchronous = FULL",  # gotcha G2
    "foreign_keys = ON",
    "wal_autocheckpoint = 1000",
    "journal_size_limit = 8388608",  # the log is truncated to this size after it was longer
)
READER_PRAGMAS = (BUSY_TIMEOUT, "query_only = ON", "wal_autocheckpoint = 0")


class Connections:
    """The open connections of one database.

    `free_space` frees disk space, and returns whether it did. `before` may refuse an undamaged
    database before it is changed.
    """

    def __init__(self, path: Path, free_space: Callable[[], bool], before: Work[None]) -> None:
        self._path = path
        self._before = before
        # Rows changed since the opening.
        self.changes = 0
        self._free_space = free_space
        self._stack = AsyncExitStack()
        self._writing = asyncio.Lock()
        self._idle_readers: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()

    async def open(self) -> None:
        """Connect, check and migrate. A failure leaves nothing open."""
        async with AsyncExitStack() as stack:
            with _named_failures(self._path):
                _ensure_writable(self._path)
                self._writer = await stack.enter_async_context(_connect(self._path))
                await check(self._writer, self._path)
                await self._before(self._writer)
                await migrate(self._writer, self._path)
                await _set(self._writer, WRITER_PRAGMAS)
                for _ in range(READERS):
                    reader = await stack.enter_async_context(_connect(self._path))
                    await _set(reader, READER_PRAGMAS)
                    self._idle_readers.put_nowait(reader)
                await self._writer.execute_fetchall("PRAGMA user_version")  # makes the -shm file
                allocate_shared_memory(self._path)
            self._stack = stack.pop_all()

    async def close(self) -> None:
        """Close the readers, then the writer. No transaction may be running."""
        await self._stack.aclose()

    async def write(self, work: Work[Value], *, may_free_space: bool = True) -> Value:
        """Run `work` in a transaction of its own and commit it; an exception rolls it back."""
        async with self._writing:
            try:
                return await self._write(work)
            except StoreFull:
                if not may_free_space or not self._free_space():
                    raise
                return await self._write(work)

    async def _write(self, work: Work[Value]) -> Value:
        try:
            value = await self._transact(self._writer, work, begin="BEGIN IMMEDIATE", end="COMMIT")
            self.changes = self._writer.total_changes
            return value
        except StoreFailed as error:
            if _name(error.__cause__).startswith("SQLITE_IOERR"):
                await self._overwrite_failed_commit()
            raise

    async def _overwrite_failed_commit(self) -> None:
        """Overwrite the frames that a failed commit may have left in the log (gotcha G9)."""
        try:
            async with self._writer.execute("PRAGMA user_version") as found:
                ((version,),) = await found.fetchall()
            # The one statement that writes a page although no value changes.
            await self._writer.execute(f"PRAGMA user_version = {version}")
        except sqlite3.Error as error:
            # Its frames still overwrite the others, unless they could not be written.
            logger.warning("commit.overwrite_failed database=%r: %s", str(self._path), error)

    async def shrink(self) -> bool:
        """Shorten the file by some of its free pages; return whether more are free.

        The checkpoint gives them back to the disk.
        """
        async with self._writing:
            with _named_failures(self._path):
                ((free,),) = await self._writer.execute_fetchall("PRAGMA freelist_count")
                pages = min(int(free) - SPARE_PAGES, PAGES_AT_ONCE)
                if pages > 0:
                    # A script runs to its end. Another way to execute this pragma would take its
                    # first step only, which is one page (gotcha G11).
                    await self._writer.executescript(
                        f"PRAGMA incremental_vacuum({pages}); PRAGMA wal_checkpoint(PASSIVE);"
                    )
                return int(free) - SPARE_PAGES > pages

    async def read(self, work: Work[Value]) -> Value:
        """Run `work` on one consistent view of the database."""
        reader = await self._idle_readers.get()
        try:
            return await self._transact(reader, work, begin="BEGIN", end="ROLLBACK")
        finally:
            self._idle_readers.put_nowait(reader)

    async def read_separately(self, work: Work[Value]) -> Value:
        """As `read`, on a separate connection, so that no other reader waits for it."""
        with _named_failures(self._path):
            async with _connect(self._path) as reader:
                await _set(reader, READER_PRAGMAS)
                return await self._transact(reader, work, begin="BEGIN", end="ROLLBACK")

    async def _transact(
        self, connection: aiosqlite.Connection, work: Work[Value], *, begin: str, end: str
    ) -> Value:
        with _named_failures(self._path):
            await connection.execute(begin)
            try:
                value = await work(connection)
                await connection.execute(end)
            except BaseException:
                await connection.rollback()  # no effect where SQLite has already rolled back
                raise
            return value


def _ensure_writable(path: Path) -> None:
    """Make sure that the file exists and can be written, or raise OSError (gotcha G8)."""
    # Private to its owner. SQLite gives the files beside it the same mode.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _connect(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    # isolation_level=None: the driver never begins or ends a transaction by itself.
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


async def _set(connection: aiosqlite.Connection, pragmas: tuple[str, ...]) -> None:
    for pragma in pragmas:
        await connection.execute_fetchall(f"PRAGMA {pragma}")


@contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        name = _name(error)
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise StoreDamaged(path, str(error)) from error
        raise (StoreFull if name == "SQLITE_FULL" else StoreFailed)(f"{path}: {error}") from error
    except OSError as error:
        raise StoreFailed(f"{path}: {error.strerror}") from error


def _name(error: BaseException | None) -> str:
    """Return SQLite's name of an error, or ""."""
    return str(getattr(error, "sqlite_errorname", ""))
