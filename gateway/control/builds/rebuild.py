"""Rebuilding: a build that is on record is made once more, from its snapshot.

A restored data folder has the row and the snapshot of every build, but not every environment: an
environment that was made for another path, machine or Python cannot be moved. Other builds name a
home that does not exist at the present level of isolation. The row of a build that is rebuilt does
not change, since the build *was* built. A rebuild that fails (no package index, no such Python) can
be tried again: what was in the build store before is put back.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from builder import SNAPSHOT_TAKEN, BuildStore
from store import Build, Step
from store.lifecycles import BUILD, advance


def queued_again(build: Build) -> Build:
    """The build as it is shown when its rebuild begins: its snapshot is taken."""
    steps = [msgspec.convert(s, Step, from_attributes=True) for s in SNAPSHOT_TAKEN.steps]
    return msgspec.structs.replace(build, status="queued", steps=steps)


def advanced(build: Build, event: str, **changes: object) -> Build:
    """As `store.builds.advance`, without the store."""
    status = advance(BUILD, build.status, event)
    return msgspec.structs.replace(build, **{"status": status, **changes})


@asynccontextmanager
async def replacing(build_store: BuildStore, build_id: str) -> AsyncIterator[None]:
    """Inside, the folder of the build is free; afterwards it is the new one if that is complete,
    else the one from before."""
    try:
        await build_store.park(build_id)
        yield
    finally:
        with trio.CancelScope(shield=True):
            await build_store.unpark(build_id)
