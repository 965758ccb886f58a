"""The trash: files that the database does not know, moved here by a start.

They are in `trash/<time>/`, under their path in the data folder, so they can be moved back by hand.
They are removed after a week of serving. Hours of serving are counted, and not the time of day: a
clock that jumps removes nothing.
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
# The file in each folder of the trash that has its age in hours.
_AGE = "hours"

logger = logging.getLogger(__name__)


class Trash:
    """The trash of the data folder `root`. All but `watch` blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "trash"
        # Files that arrive within an hour are in one folder of this name.
        self._now = ""

    def put(self, path: Path) -> Path:
        """Moves a file or folder of the data folder here; returns its new path. Raises OSError,
        also for a file on another file system."""
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
        """The folders of the trash, oldest first."""
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []

    def grow_older(self) -> None:
        """Counts one hour for each folder, and removes the folders that are old enough."""
        self._now = ""
        for folder in self.folders():
            age = _age(folder) + 1
            try:
                if age >= HOURS:
                    remove_tree(folder)
                    logger.info("trash.removed folder=%s hours=%d", folder, age)
                else:
                    (folder / _AGE).write_text(f"{age}\n")
            except OSError as error:
                logger.warning("trash.failed folder=%s: %s", folder, error)

    async def watch(self) -> None:
        """Counts hours while the gateway serves. Never returns."""
        while True:
            await trio.sleep(_HOUR)
            await trio.to_thread.run_sync(self.grow_older)


def _age(folder: Path) -> int:
    """In hours; 0 if unknown."""
    with suppress(OSError, ValueError):
        return int((folder / _AGE).read_text("ascii"))
    return 0
