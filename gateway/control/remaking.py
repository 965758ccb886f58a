"""The making anew of a build whose folder is gone, from its snapshot.

A restored data folder has every build's row and snapshot, but not every environment: one that was
made for another path, machine or Python cannot be moved. The row stays as it is, number and all,
since the build *was* built; a making that fails (no package index, no such Python) changes nothing
and can be tried again.
"""

import msgspec

from builder import SNAPSHOT_TAKEN
from gateway.control.house import House
from gateway.control.making import Making
from store import Build, Step
from store.lifecycles import BUILD, advance


class Remaking(Making):
    """A making that tells its progress to those who look, but not to the store."""

    def __init__(self, house: House, build: Build) -> None:
        steps = [msgspec.convert(s, Step, from_attributes=True) for s in SNAPSHOT_TAKEN.steps]
        super().__init__(house, msgspec.structs.replace(build, status="queued", journey=steps))
        self.log.write("The folder of this build is gone: it is made anew from its snapshot")

    async def _advance(self, event: str, **changes: object) -> None:
        status = advance(BUILD, self.build.status, event)
        now = {"status": status, "journey": self.steps, **changes}
        self.build = msgspec.structs.replace(self.build, **now)
