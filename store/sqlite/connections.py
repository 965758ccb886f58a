"""The far side: one connection that writes and a few that read, all on the asyncio loop.

Law: a transaction is done wholly or not at all, and none sees or ends another one's. The writer
serves one transaction at a time. A reader sees the database as it stood at its first statement,
whatever is written meanwhile.

Only the writer checkpoints, and it is the last to be closed (gotcha G3 in README).

A disk that is full is asked once for the room that was kept for this; a commit that the disk
failed is buried, so that what was refused does not come true after a kill (gotcha G9).
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
# Free pages that stay in the file, for what is written next; and how many go in one transaction.
SPARE_PAGES, PAGES_AT_ONCE = 1024, 256
BUSY_TIMEOUT = "busy_timeout = 5000"  # ms; for an operator's own sqlite3 beside us
WRITER_PRAGMAS = (
    BUSY_TIMEOUT,
    "journal_mode = WAL",
    "synchronous = FULL",  # gotcha G2
    "foreign_keys = ON",
    "wal_autocheckpoint = 1000",
    "journal_size_limit = 8388608",  # the log is cut to so much once it has been long
)
READER_PRAGMAS = (BUSY_TIMEOUT, "query_only = ON", "wal_autocheckpoint = 0")


class Connections:
    """The open connections of one database. `make_room` says whether it could make some; `before`
    may refuse a database that is whole, before it is changed."""

    def __init__(self, path: Path, make_room: Callable[[], bool], before: Work[None]) -> None:
        self._path = path
        self._before = before
        # How many rows were changed since it was opened.
        self.changes = 0
        self._make_room = make_room
        self._held = AsyncExitStack()
        self._writing = asyncio.Lock()
        self._idle_readers: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()

    async def open(self) -> None:
        """Connect, check and migrate before anything else can be asked.

        A failure leaves nothing open.
        """
        async with AsyncExitStack() as held:
            with _failures_named(self._path):
                _make_sure_of(self._path)
                self._writer = await held.enter_async_context(_connect(self._path))
                await check(self._writer, self._path)
                await self._before(self._writer)
                await migrate(self._writer, self._path)
                await _set(self._writer, WRITER_PRAGMAS)
                for _ in range(READERS):
                    reader = await held.enter_async_context(_connect(self._path))
                    await _set(reader, READER_PRAGMAS)
                    self._idle_readers.put_nowait(reader)
                await self._writer.execute_fetchall("PRAGMA user_version")  # makes the -shm file
                allocate_shared_memory(self._path)
            self._held = held.pop_all()

    async def close(self) -> None:
        """Close the readers, then the writer. Nothing may be under way."""
        await self._held.aclose()

    async def write(self, work: Work[Value], *, may_make_room: bool = True) -> Value:
        """Run `work` in a transaction of its own and commit it; an exception rolls it back."""
        async with self._writing:
            try:
                return await self._write(work)
            except StoreFull:
                if not may_make_room or not self._make_room():
                    raise
                return await self._write(work)

    async def _write(self, work: Work[Value]) -> Value:
        try:
            value = await self._transact(self._writer, work, begin="BEGIN IMMEDIATE", end="COMMIT")
            self.changes = self._writer.total_changes
            return value
        except StoreFailed as error:
            if _name(error.__cause__).startswith("SQLITE_IOERR"):
                await self._bury()
            raise

    async def _bury(self) -> None:
        """Overwrites what a failed commit may have left in the log (gotcha G9)."""
        try:
            async with self._writer.execute("PRAGMA user_version") as found:
                ((version,),) = await found.fetchall()
            # The one statement that writes a page although nothing changes.
            await self._writer.execute(f"PRAGMA user_version = {version}")
        except sqlite3.Error as error:
            # Its frames lie over the others all the same, unless they could not be written.
            logger.warning("%s: cannot bury a failed commit: %s", self._path, error)

    async def give_back(self) -> bool:
        """Make the file shorter by some of its free pages; return whether there are more to give.
        The disk has them when they are checkpointed, too."""
        async with self._writing:
            with _failures_named(self._path):
                ((free,),) = await self._writer.execute_fetchall("PRAGMA freelist_count")
                pages = min(int(free) - SPARE_PAGES, PAGES_AT_ONCE)
                if pages > 0:
                    # A script is carried out to its end; of this pragma another statement would
                    # take the first step only, which is one page (gotcha G11).
                    await self._writer.executescript(
                        f"PRAGMA incremental_vacuum({pages}); PRAGMA wal_checkpoint(PASSIVE);"
                    )
                return int(free) - SPARE_PAGES > pages

    async def read(self, work: Work[Value]) -> Value:
        """Run `work` on one unchanging view of the database."""
        reader = await self._idle_readers.get()
        try:
            return await self._transact(reader, work, begin="BEGIN", end="ROLLBACK")
        finally:
            self._idle_readers.put_nowait(reader)

    async def read_apart(self, work: Work[Value]) -> Value:
        """As `read`, on a connection of its own, so that it keeps no other reader waiting."""
        with _failures_named(self._path):
            async with _connect(self._path) as reader:
                await _set(reader, READER_PRAGMAS)
                return await self._transact(reader, work, begin="BEGIN", end="ROLLBACK")

    async def _transact(
        self, connection: aiosqlite.Connection, work: Work[Value], *, begin: str, end: str
    ) -> Value:
        with _failures_named(self._path):
            await connection.execute(begin)
            try:
                value = await work(connection)
                await connection.execute(end)
            except BaseException:
                await connection.rollback()  # does nothing when SQLite has already rolled back
                raise
            return value


def _make_sure_of(path: Path) -> None:
    """Have a file there that we can write, or an OSError that says why not (gotcha G8)."""
    # For its owner alone, and so what SQLite makes beside it, which gets the same mode.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _connect(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    # isolation_level=None: transactions begin and end where we say, never by the driver's guess.
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


async def _set(connection: aiosqlite.Connection, pragmas: tuple[str, ...]) -> None:
    for pragma in pragmas:
        await connection.execute_fetchall(f"PRAGMA {pragma}")


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
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
    """SQLite's own name of its error, or nothing."""
    return str(getattr(error, "sqlite_errorname", ""))
