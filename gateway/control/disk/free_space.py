"""The free space of the data folder's disk, and what may use it when there is little.

What takes much space (builds, deployments, projects, uploads) is refused while less than the
reserve is free. So serving can continue: logs, working copies of replicas that are replaced, and
the store. If the disk is full all the same, the store gets the ballast, once, which is enough for
deletions. The ballast is allocated again when there is plenty of space. A second reserve is for the
next start alone.

Predictions do not depend on this file.
"""

import logging
import os
from pathlib import Path
from typing import Literal

import msgspec
import trio

from gateway.errors import Refusal
from store import Ballast, StartReserve
from workers.shortages import in_thread
from workers.sizes import MIB

# Seconds between two checks of the disk.
_PERIOD = 2.0
# Less than this is too little for a start, or for git to drop a snapshot.
_LITTLE_BYTES, _LITTLE_INODES = 4 * MIB, 8
# Of both reserves. The ballast's bytes alone are counted: the start reserve has 128 KiB.
_RESERVED_INODES = Ballast.FILES + StartReserve.FILES

logger = logging.getLogger(__name__)


Level = Literal["ok", "low", "full"]


class DiskState(msgspec.Struct, frozen=True):
    """The free space now. `free_inodes` is None if the file system creates inodes on demand. The
    level is `low` below `warn_below`, and `full` below the reserve."""

    free_bytes: int
    total_bytes: int
    free_inodes: int | None
    reserve: int
    ballast: bool
    warn_below: int
    level: Level

    def has(self, size: int, inodes: int) -> bool:
        enough = self.free_inodes is None or self.free_inodes >= inodes
        return self.free_bytes >= size and enough


class FreeSpace:
    """The disk of `folder`. `reserve` and `warn_below` may be changed."""

    def __init__(
        self, folder: Path, ballast: Ballast, start_room: StartReserve, reserve: int
    ) -> None:
        self._folder = folder
        self._ballast = ballast
        self._start_room = start_room
        self.reserve = reserve
        self.warn_below = 0
        self._level: Level = "ok"
        self._problem = ""

    async def state(self) -> DiskState:
        """The free space now. In a thread, since a disk can hang."""
        return await in_thread(self._state)

    def _state(self) -> DiskState:
        found = os.statvfs(self._folder)
        state = DiskState(
            free_bytes=found.f_bavail * found.f_frsize,
            total_bytes=found.f_blocks * found.f_frsize,
            free_inodes=found.f_favail if found.f_files else None,
            reserve=self.reserve,
            ballast=self._ballast.allocated,
            warn_below=self.warn_below,
            level="ok",
        )
        return msgspec.structs.replace(state, level=self._level_of(state))

    def _level_of(self, state: DiskState) -> Level:
        if not state.has(self.reserve, _inodes(self.reserve)):
            return "full"
        return "ok" if state.has(self.warn_below, 0) else "low"

    @property
    def is_low(self) -> bool:
        """Whether there was little free space at the last look."""
        return self._level != "ok"

    async def check_free(self, what: str) -> None:
        """Raises Refusal("disk.full") while less than the reserve is free."""
        self._check(await self.state(), what)

    def check(self, what: str) -> None:
        """As `check_free`, without a thread: for the many small steps of an upload."""
        self._check(self._state(), what)

    def _check(self, state: DiskState, what: str) -> None:
        if state.level == "full":
            raise Refusal(
                "disk.full",
                f"{_describe(state)} where predictd keeps its data; {what} needs more than the "
                f"reserve of {self.reserve // MIB} MiB",
            )

    def check_copy(self, size: int, what: str) -> None:
        """Raises Refusal("disk.full") if a temporary copy of `size` bytes would take more than half
        of the free space. It may use the reserve. Blocking."""
        state = self._state()
        if 2 * size > state.free_bytes:
            raise Refusal(
                "disk.full",
                f"{_describe(state)} where predictd keeps its data; {what} needs twice "
                f"{-(-size // MIB)} MiB there",
            )

    def give_back(self) -> bool:
        """Frees the ballast; False if there was none. From any thread."""
        given = self._ballast.release()
        if given:
            logger.warning("ballast.freed size_mib=%d", Ballast.BYTES // MIB)
        return given

    async def ensure_minimum_free(self) -> None:
        """Frees the ballast if too little space is left for a start."""
        if not (await self.state()).has(_LITTLE_BYTES, _LITTLE_INODES):
            await in_thread(self.give_back)

    async def watch(self) -> None:
        """Logs when space becomes low and when it is back; allocates the ballast again. Never
        returns."""
        while True:
            problem = ""
            try:
                await self._look()
            except OSError as error:
                problem = str(error)
            if problem and problem != self._problem:
                logger.warning("disk.check_failed folder=%s: %s", self._folder, problem)
            self._problem = problem
            await trio.sleep(_PERIOD)

    async def _look(self) -> None:
        state = await self.state()
        if state.level != self._level:
            if state.level == "ok":
                logger.info("disk.recovered folder=%s", self._folder)
            else:
                fields = (state.level, self._folder, _effect(state))
                logger.warning("disk.low level=%s folder=%s: %s", *fields)
        self._level = state.level
        # Twice as much as both reserves take, so that the space that was just freed is not taken
        # again at once, and replicas that start meanwhile find some.
        if not state.ballast and state.has(2 * Ballast.BYTES, 2 * _RESERVED_INODES):
            await in_thread(self._ballast.allocate)
            # A start on a full disk may not have found enough for all of it.
            await in_thread(self._start_room.allocate)


def _inodes(size: int) -> int:
    """The number of files in `size` bytes, if they are as small as those of an environment."""
    return size // (64 * 1024)


def _effect(state: DiskState) -> str:
    if state.level == "full":
        return f"{_describe(state)}: builds, deployments, projects and uploads are refused"
    return f"{_describe(state)}; with less than {state.reserve // MIB} MiB builds are refused"


def _describe(state: DiskState) -> str:
    files = "" if state.free_inodes is None else f" and {state.free_inodes} files"
    return f"only {state.free_bytes // MIB} MiB{files} are free"
