"""Whether a database is the latest one of its data folder, or an older copy.

A file beside the database has its generation: the id of the folder and a number. Both are advanced
when the folder is served, and then once a minute if something was written; the database first, so
its number is never the smaller one. An older copy has the smaller one, and another folder's
database has another id. What was written in the last minute is not covered.

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

# Seconds between two looks.
_PERIOD = 60.0

logger = logging.getLogger(__name__)


async def check_generation(connection: aiosqlite.Connection, path: Path, mark: Path) -> None:
    """Raises DatabaseOutdated where the file `mark` has a later generation than the database."""
    seen = _read(mark)
    if seen is None:
        return
    found = await site.generation(connection)
    if found.workspace_id != seen.workspace_id or found.number < seen.number:
        raise DatabaseOutdated(path, mark, same=found.workspace_id == seen.workspace_id)


class Generations:
    """Advances the generation of a database and of the file `mark`."""

    def __init__(self, database: Database, mark: Path) -> None:
        self._database = database
        self._mark = mark
        self._changes = -1
        self._problem = ""

    async def run(self) -> None:
        """Looks now, and once a minute. What fails is logged and tried again."""
        while True:
            try:
                await self.look()
                self._problem = ""
            except (StoreFailed, OSError) as error:
                if str(error) != self._problem:
                    logger.warning("cannot advance %s: %s", self._mark, error)
                self._problem = str(error)
            await trio.sleep(_PERIOD)

    async def look(self) -> None:
        """Advances it if anything was written since the last look: from the return on, a copy from
        before is known as older. Raises StoreFailed, OSError."""
        if self._database.changes == self._changes:
            return
        # Not worth the room that is kept for a full disk.
        now, changes = await self._database.write_if_room(_advance)
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
        logger.warning("%s cannot be read, so it does not tell the database's age: %s", mark, error)
        return None
