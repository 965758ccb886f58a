"""What builds take on the disk: the files of each, and the environment that it runs in.

An environment that several builds share counts for each of them. Its size is remembered: it does
not change after it is sealed.
"""

from contextlib import suppress
from pathlib import Path

import trio

import store
from builder import BuildStore
from store import Database
from workers.untrusted_tree import measure

# Environments whose size is remembered.
_MOST = 1000


class BuildSizes:
    """Measures sealed builds."""

    def __init__(self, database: Database, build_store: BuildStore) -> None:
        self._database = database
        self._build_store = build_store
        self._environments: dict[str, int] = {}
        self._threads = trio.CapacityLimiter(1)

    async def record(self, build_id: str) -> None:
        """Records how many bytes a build takes, if it is sealed. Raises NotFound."""
        manifest = self._build_store.sealed(build_id)
        if manifest is None:
            return
        size = await self._measure(self._build_store.folder(build_id))
        if name := manifest.environment:
            if name not in self._environments:
                if len(self._environments) >= _MOST:
                    self._environments.clear()
                folder = self._build_store.environments.folder(name)
                self._environments[name] = await self._measure(folder)
            size += self._environments[name]
        with suppress(store.StoreFailed):  # on a full disk, a size is not worth more
            await self._database.write(store.builds.update, build_id, size_bytes=size)

    async def _measure(self, folder: Path) -> int:
        return await trio.to_thread.run_sync(measure, folder, limiter=self._threads)
