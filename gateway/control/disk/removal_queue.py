"""While a backup reads files, what is deleted keeps its files.

A deletion takes rows away first and files afterwards. A backup first holds, then copies the rows:
so every file that its copy speaks of is there, and stays until the backup has ended. A gateway
killed in between finds the rest by its ids at boot.
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
    """Passes removals on, or keeps them while somebody holds."""

    def __init__(self) -> None:
        self._holders = 0
        self._kept: list[Removal] = []

    async def remove(self, removal: Removal) -> None:
        """Removes now, or when nobody holds any more: then this returns at once."""
        if self._holders:
            self._kept.append(removal)
        else:
            await removal()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing that could be removed from now on is, while the block runs."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                await self._remove_queued()

    async def _remove_queued(self) -> None:
        kept, self._kept = self._kept, []
        for removal in kept:
            try:
                await removal()
            except Exception:
                logger.exception("a removal that had waited for a backup")


def remove(entry: Path, set_aside: SetAside) -> None:
    """Takes away a file, a link or a folder; no matter if it is gone. What cannot be removed stays,
    is named, and is tried again at the next start. Blocking."""
    with set_aside.item("a leftover", entry, REMOVE):
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
