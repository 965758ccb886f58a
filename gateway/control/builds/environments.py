"""The environments that builds and experiments run in, while nothing names them.

A build names its environment, which stays as long as the build. One that no build names, such as
that of an experiment, or of a build whose model could not be started, is kept for the next build of
the project: the last few of each project, until `predictd gc`.
"""

import trio

from builder import BuildStore

# The environments that are kept of each project beside those of its builds.
KEPT = 3


class Environments:
    """Finds and removes those that nothing needs."""

    def __init__(self, build_store: BuildStore) -> None:
        self._build_store = build_store
        self._store = build_store.environments

    async def prune(self, project_id: str) -> None:
        """Removes those of a project that were used longest ago."""
        for name in (await self._unused(project_id))[:-KEPT]:
            await self.remove_unused(name)

    async def remove_all(self, project_id: str) -> None:
        """Removes those of a project that was deleted."""
        for name in await self._unused(project_id):
            await self.remove_unused(name)

    async def unused(self) -> list[str]:
        """Those that no build names and nothing uses."""
        return await self._unused("")

    async def _unused(self, project_id: str) -> list[str]:
        named = await trio.to_thread.run_sync(self._build_store.environments_by_build)
        found = await trio.to_thread.run_sync(self._store.sealed_names, project_id)
        kept = set(named.values())
        return [name for name in found if name not in kept and self._store.is_free(name)]

    async def remove_unused(self, name: str) -> bool:
        """Removes one unless something needs it by now. Whether it did."""
        return await self._build_store.remove_environment(name)
