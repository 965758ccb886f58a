"""The making again of a build that is on record, from its snapshot.

A restored data folder has every build's row and snapshot, but not every environment: one that was
made for another path, machine or Python cannot be moved. Another build names a home that is not
there at the level of isolation now in force. The row stays as it is, number and all, since the
build *was* built; a making that fails (no package index, no such Python) changes nothing and can be
tried again: what stood on the shelf is put back.
"""

import msgspec
import trio

from builder import SNAPSHOT_TAKEN
from gateway.control.builds.build_task import BuildTask
from gateway.control.context import ControlContext
from gateway.control.fair_semaphore import FairSemaphore
from store import Build, Step, lifecycles


class RebuildTask(BuildTask):
    """A making that tells its progress to those who look, but not to the store."""

    def __init__(self, context: ControlContext, build: Build, why: str) -> None:
        steps = [msgspec.convert(s, Step, from_attributes=True) for s in SNAPSHOT_TAKEN.steps]
        super().__init__(context, msgspec.structs.replace(build, status="queued", journey=steps))
        self.log.write(f"Making the build again from its snapshot: {why}")

    async def _made(self, places: FairSemaphore) -> None:
        shelf, build_id = self._context.build_store, self.build.id
        try:
            await shelf.set_aside(build_id)
            await super()._run_steps(places)
        finally:
            with trio.CancelScope(shield=True):
                await shelf.put_back(build_id)

    async def _advance(self, event: str, **changes: object) -> None:
        status = lifecycles.advance(lifecycles.BUILD, self.build.status, event)
        now = {"status": status, "journey": self.steps, **changes}
        self.build = msgspec.structs.replace(self.build, **now)
