"""Builds whose interpreter is gone: it was removed, or one of another version took its place.

The environment of a build rests on an interpreter of the machine. Where that is gone no replica
can start. Then the build is made again with another of its version; where there is none, its
deployment has failed, with what to install.
"""

import logging
from pathlib import Path

import trio

import builder
import store
from gateway.control import failures
from gateway.control.context import ControlContext
from store import Build, Deployment
from workers import Pool

logger = logging.getLogger(__name__)

# Between two looks at whether a deployment without a ready replica has lost its interpreter.
_LOOK = 10.0


class VanishedInterpreters:
    """What is known of it."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        # Builds whose interpreter has become one of another version.
        self._outlived: set[str] = set()

    def why(self, build_id: str, manifest: builder.Manifest) -> str:
        """Why a whole build has to be made again, as far as a look at its link tells; "" if not."""
        if build_id in self._outlived or not self._context.build_store.runs(build_id):
            return f"its Python {manifest.version} is gone: {manifest.interpreter}"
        return ""

    async def check(self, build: Build) -> None:
        """Raises InterpreterGone for a build that has lost its interpreter, could not be made again
        just now, and for which there is no other."""
        manifest = self._context.build_store.sealed(build.id)
        if manifest is None or not self.why(build.id, manifest):
            return
        try:
            builder.match(build.interpreter, await self._context.interpreters.look_again())
        except builder.BuilderError as error:
            gone = failures.interpreter_gone(build, manifest, error)
            raise failures.InterpreterGone(gone) from error

    def rebuilt(self, build_id: str) -> None:
        self._outlived.discard(build_id)

    async def until_closed(self, deployment: Deployment, pool: Pool) -> bool:
        """Returns when nothing of a pool is left. Whether that is since it was ended here: nothing
        of it was ready, and its interpreter is gone."""
        lost = False

        async def look() -> None:
            nonlocal lost
            while not lost:
                await trio.sleep(_LOOK)
                if not pool.ready and await self._is_deployed(deployment):
                    lost = await self._has_lost(deployment.build_id or "")
            logger.error("deployment %d: its interpreter is gone", deployment.number)
            pool.stop()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await pool.closed.wait()
            nursery.cancel_scope.cancel()
        return lost

    async def _is_deployed(self, deployment: Deployment) -> bool:
        try:
            now = await self._context.database.read(store.deployments.get, deployment.id)
        except store.StoreError:  # deleted, or the disk fails
            return False
        return now.status == "deployed"

    async def _has_lost(self, build_id: str) -> bool:
        """Starts the interpreter, to see whether it is there and of that version."""
        manifest = self._context.build_store.sealed(build_id)
        if manifest is None:
            return False
        try:
            found = await builder.inspect(Path(manifest.interpreter))
        except builder.InterpreterUnusable:
            self._outlived.add(build_id)
        else:
            if found.release[:2] != builder.release_of(manifest.version)[:2]:
                self._outlived.add(build_id)
        return bool(self.why(build_id, manifest))
