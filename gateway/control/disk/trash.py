"""What a start takes out of its place, since the database does not know it, waits here.

It lies in `trash/<time>/`, under its path in the data folder, so it can be moved back by hand, and
is removed when gateways have served for a week since. Hours of serving are counted, instead of
looking at the clock: a clock that jumps removes nothing.
"""

import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import trio

from builder import remove_tree

HOURS = 7 * 24
_HOUR = 3600.0
# In each folder of the trash: for how many hours it has been here.
_AGE = "hours"

logger = logging.getLogger(__name__)


class Trash:
    """The trash of the data folder `root`. All but `watch` blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "trash"
        # What comes within an hour lies in one folder, of this name.
        self._now = ""

    def put(self, path: Path) -> Path:
        """Moves a file or folder of the data folder here; returns where it is now. Raises OSError,
        also for what lies on another file system."""
        self._now = self._now or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        for number in count(1):
            folder = self._folder / (self._now if number == 1 else f"{self._now}-{number}")
            target = folder / path.relative_to(self._root)
            if not os.path.lexists(target):
                break
        self._folder.mkdir(mode=0o700, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return target

    def folders(self) -> list[Path]:
        """One for each time at which something came here."""
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []

    def grow_older(self) -> None:
        """Says that an hour has gone by, and removes what has been here for long enough."""
        self._now = ""
        for folder in self.folders():
            age = _age(folder) + 1
            try:
                if age >= HOURS:
                    remove_tree(folder)
                    logger.info("removed %s, which was put there %d hours ago", folder, age)
                else:
                    (folder / _AGE).write_text(f"{age}\n")
            except OSError as error:
                logger.warning("%s: %s", folder, error)

    async def watch(self) -> None:
        """Removes what is old, while the gateway serves."""
        while True:
            await trio.sleep(_HOUR)
            await trio.to_thread.run_sync(self.grow_older)


def _age(folder: Path) -> int:
    """In hours; 0 where that is not known."""
    with suppress(OSError, ValueError):
        return int((folder / _AGE).read_text("ascii"))
    return 0
