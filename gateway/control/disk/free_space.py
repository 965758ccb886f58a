"""The disk of the data folder: who may still use it when there is little room.

What takes much (builds, deployments, projects, uploads) is refused while less than the reserve is
free, so that what is served can go on: logs, working copies of replicas that are replaced, and the
store. If somebody fills the disk all the same, the store gets the ballast, once, which is enough to
delete things. The ballast is taken again when there is plenty of room. Other room is kept for the
next start alone.

Nothing here is asked by a prediction.
"""

import logging
import os
from pathlib import Path

import msgspec
import trio

from gateway.errors import Refusal
from store import Ballast, StartReserve
from workers.shortages import in_thread
from workers.sizes import MIB

# Seconds between two looks at the disk.
_PERIOD = 2.0
# Less than this is too little for a start, or for git to forget a snapshot.
_LITTLE_BYTES, _LITTLE_INODES = 4 * MIB, 8

logger = logging.getLogger(__name__)


class DiskState(msgspec.Struct, frozen=True):
    """What there is for us now. `free_inodes` is None where the file system makes them at need."""

    free_bytes: int
    free_inodes: int | None
    reserve: int
    ballast: bool

    def has(self, size: int, inodes: int) -> bool:
        enough = self.free_inodes is None or self.free_inodes >= inodes
        return self.free_bytes >= size and enough


class FreeSpace:
    """The disk on which `folder` lies. `reserve` may be changed."""

    def __init__(
        self, folder: Path, ballast: Ballast, start_room: StartReserve, reserve: int
    ) -> None:
        self._folder = folder
        self._ballast = ballast
        self._start_room = start_room
        self.reserve = reserve
        self._was_low = False
        self._problem = ""

    async def state(self) -> DiskState:
        """What there is now. In a thread, since a disk can hang."""
        return await in_thread(self._state)

    def _state(self) -> DiskState:
        found = os.statvfs(self._folder)
        return DiskState(
            free_bytes=found.f_bavail * found.f_frsize,
            free_inodes=found.f_favail if found.f_files else None,
            reserve=self.reserve,
            ballast=self._ballast.allocated,
        )

    async def check_free(self, what: str) -> None:
        """Raises Refusal("disk.full") while there is too little room for something large."""
        self._check(await self.state(), what)

    def check(self, what: str) -> None:
        """The same, for what goes on in small steps, of which each costs as much as this."""
        self._check(self._state(), what)

    def _check(self, state: DiskState, what: str) -> None:
        if not state.has(self.reserve, _inodes(self.reserve)):
            raise Refusal(
                "disk.full",
                f"{_told(state)} where predictd keeps its data; {what} needs more than the "
                f"reserve of {self.reserve // MIB} MiB",
            )

    def check_copy(self, size: int, what: str) -> None:
        """Raises Refusal("disk.full") where so many bytes are more than half of what is free. They
        are there for a moment only, so they may take of the reserve; blocking."""
        state = self._state()
        if 2 * size > state.free_bytes:
            raise Refusal(
                "disk.full",
                f"{_told(state)} where predictd keeps its data; {what} needs twice "
                f"{-(-size // MIB)} MiB there",
            )

    def give_back(self) -> bool:
        """Frees the ballast; False when there was none. In any thread."""
        given = self._ballast.release()
        if given:
            logger.warning(
                "the disk is full: gave the ballast of %d MiB back", Ballast.BYTES // MIB
            )
        return given

    async def ensure_minimum_free(self) -> None:
        """Sees to it that there is a little room, if the ballast can give it."""
        if not (await self.state()).has(_LITTLE_BYTES, _LITTLE_INODES):
            await in_thread(self.give_back)

    async def watch(self) -> None:
        """Tells the log when there is little room and when that is over; takes ballast again."""
        while True:
            problem = ""
            try:
                await self._look()
            except OSError as error:
                problem = str(error)
            if problem and problem != self._problem:
                logger.warning("cannot keep room on the disk of %s: %s", self._folder, problem)
            self._problem = problem
            await trio.sleep(_PERIOD)

    async def _look(self) -> None:
        state = await self.state()
        is_low = not state.has(self.reserve, _inodes(self.reserve))
        if is_low and not self._was_low:
            logger.warning("%s at %s: no builds, no deployments", _told(state), self._folder)
        elif self._was_low and not is_low:
            logger.info("there is room again at %s", self._folder)
        self._was_low = is_low
        # Twice as much, so that what was just given back is not taken from under its user.
        if not state.ballast and state.has(2 * Ballast.BYTES, 2 * Ballast.FILES):
            await in_thread(self._ballast.allocate)
            # A start on a full disk may have found too little for all of it.
            await in_thread(self._start_room.allocate)


def _inodes(size: int) -> int:
    """How many files so many bytes are, as small as those of an environment."""
    return size // (64 * 1024)


def _told(state: DiskState) -> str:
    files = "" if state.free_inodes is None else f" and {state.free_inodes} files"
    return f"only {state.free_bytes // MIB} MiB{files} are free"
