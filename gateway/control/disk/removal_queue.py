"""Removals of files, which wait while a backup reads the data folder.

A deletion removes rows first and files afterwards. A backup first pauses removals, then copies the
rows: so every file that the rows name exists, and stays until the backup has ended. After a kill in
between, the next start finds the rest by its ids.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from builder import remove_tree
from gateway.set_aside import REMOVE, SetAside

logger = logging.getLogger(__name__)

Removal = Callable[[], Awaitable[object]]


class RemovalQueue:
    """Runs removals at once, or queues them while they are paused."""

    def __init__(self) -> None:
        self._pauses = 0
        self._queue: list[Removal] = []

    async def remove(self, removal: Removal) -> None:
        """Removes now. While paused, returns at once and removes later."""
        if self._pauses:
            self._queue.append(removal)
        else:
            await removal()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No removal that begins from now on runs during the block."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                await self._remove_queued()

    async def _remove_queued(self) -> None:
        queued, self._queue = self._queue, []
        for removal in queued:
            try:
                await removal()
            except Exception:
                logger.exception("removal.failed")


def remove(entry: Path, set_aside: SetAside) -> None:
    """Removes a file, a link or a folder, if it is there. What cannot be removed stays, is
    reported, and the next start tries again. Blocking."""
    with set_aside.item("a leftover", entry, REMOVE):
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
