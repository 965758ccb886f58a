"""Builds whose interpreter was removed, or replaced by one of another version.

The environment of a build needs the interpreter of the machine that it was made with. Without it no
replica can start. Then the build is rebuilt with another interpreter of the same version. If there
is none, the deployment fails, and its failure says what to install.
"""

import logging
from pathlib import Path

import trio

import builder
import store
from builder import BuildStore
from gateway.control import failures
from gateway.control.interpreters import Interpreters
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from store import Build, Database, Deployment
from workers import Pool

logger = logging.getLogger(__name__)


class VanishedInterpreters:
    """Finds them. `check_pause`, in seconds, is the time between two checks of a deployment that
    has no ready replica."""

    def __init__(
        self,
        *,
        database: Database,
        build_store: BuildStore,
        interpreters: Interpreters,
        catalogue: RuntimeCatalogue,
        check_pause: float,
    ) -> None:
        self._database = database
        self._build_store = build_store
        self._interpreters = interpreters
        self._catalogue = catalogue
        self._check_pause = check_pause
        # Builds whose interpreter was replaced by one of another version.
        self._outdated: set[str] = set()

    def why(self, build_id: str, manifest: builder.Manifest) -> str:
        """Why a sealed build has to be rebuilt; "" if it has not. Checks the link in its
        environment, and does not start the interpreter."""
        if build_id in self._outdated or not self._build_store.has_interpreter(build_id):
            return f"its Python {manifest.version} is gone: {manifest.interpreter}"
        return ""

    async def check(self, build: Build) -> None:
        """Raises InterpreterGone for a build that has lost its interpreter, whose rebuild failed,
        and for which there is no other interpreter."""
        manifest = self._build_store.sealed(build.id)
        if manifest is None or not self.why(build.id, manifest):
            return
        try:
            await self._interpreters.rediscover()
            await self._catalogue.find(build.interpreter)
        except builder.BuilderError as error:
            gone = failures.interpreter_gone(build, manifest, error)
            raise failures.InterpreterGone(gone) from error

    def rebuilt(self, build_id: str) -> None:
        self._outdated.discard(build_id)

    async def until_closed(self, deployment: Deployment, pool: Pool) -> bool:
        """Returns when the pool is closed. Closes it, and returns True, if no replica is ready and
        the interpreter is gone."""
        lost = False

        async def look() -> None:
            nonlocal lost
            while not lost:
                await trio.sleep(self._check_pause)
                if not pool.ready and await self._is_deployed(deployment):
                    lost = await self._has_lost(deployment.build_id or "")
            logger.error("interpreter.vanished deployment=%d", deployment.number)
            pool.stop()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await pool.closed.wait()
            nursery.cancel_scope.cancel()
        return lost

    async def _is_deployed(self, deployment: Deployment) -> bool:
        try:
            now = await self._database.read(store.deployments.get, deployment.id)
        except store.StoreError:  # deleted, or the disk fails
            return False
        return now.status == "deployed"

    async def _has_lost(self, build_id: str) -> bool:
        """Starts the interpreter, to see whether it exists and has the same version."""
        manifest = self._build_store.sealed(build_id)
        if manifest is None:
            return False
        try:
            found = await builder.inspect(Path(manifest.interpreter))
        except builder.InterpreterUnusable:
            self._outdated.add(build_id)
        else:
            if found.release[:2] != builder.release_of(manifest.version)[:2]:
                self._outdated.add(build_id)
        return bool(self.why(build_id, manifest))
