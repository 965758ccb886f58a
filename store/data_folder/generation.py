"""Detects that a database is an older copy of the data folder's database, or another folder's.

A file beside the database has its generation: the id of the data folder and a number. Both are
advanced when the folder is served, and then once a minute if something was written. The database is
advanced first, so its number is never smaller than the file's, except in an older copy. The
database of another folder has another id. Changes of the last minute are not covered.

The file decides nothing else: where it is missing or unreadable it is written again.
"""

import logging
from pathlib import Path

import aiosqlite
import msgspec
import trio

from store.errors import DatabaseOutdated, StoreFailed
from store.fsync import replace_file
from store.sqlite.database import Database
from store.tables import site

_PERIOD = 60.0  # seconds

logger = logging.getLogger(__name__)


async def check_generation(connection: aiosqlite.Connection, path: Path, mark: Path) -> None:
    """Raise DatabaseOutdated if the file `mark` has a later generation than the database."""
    seen = _read(mark)
    if seen is None:
        return
    found = await site.generation(connection)
    if found.workspace_id != seen.workspace_id or found.number < seen.number:
        raise DatabaseOutdated(path, mark, same=found.workspace_id == seen.workspace_id)


class GenerationKeeper:
    """Advances the generation of a database and of the file `mark`."""

    def __init__(self, database: Database, mark: Path) -> None:
        self._database = database
        self._mark = mark
        self._changes = -1
        self._problem = ""

    async def run(self) -> None:
        """Advance now and once a minute. A failure is logged and retried."""
        while True:
            try:
                await self.advance()
                self._problem = ""
            except (StoreFailed, OSError) as error:
                if str(error) != self._problem:
                    logger.warning("generation.advance_failed file=%r: %s", str(self._mark), error)
                self._problem = str(error)
            await trio.sleep(_PERIOD)

    async def advance(self) -> None:
        """Advance the generation if anything was written since the last time.

        After the return, an earlier copy is recognized as older. Raises StoreFailed, OSError.
        """
        if self._database.changes == self._changes:
            return
        # Not important enough for the ballast.
        now, changes = await self._database.write_if_space(_advance)
        await trio.to_thread.run_sync(replace_file, self._mark, msgspec.json.encode(now))
        self._changes = changes


async def _advance(connection: aiosqlite.Connection) -> tuple[site.Generation, int]:
    return await site.advance_generation(connection), connection.total_changes


def _read(mark: Path) -> site.Generation | None:
    try:
        return msgspec.json.decode(mark.read_bytes(), type=site.Generation)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("generation.unreadable file=%r: %s", str(mark), error)
        return None
