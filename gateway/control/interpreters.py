"""The Pythons of this machine, discovered while the gateway already serves.

Each candidate has to be started to find out its version. Only builds need the result, so
predictions of deployed models do not wait for it.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from builder import Interpreter, discover
from gateway.background import Tasks

# The usable interpreters of the machine and of a folder of downloads. One of them is the default:
# the one at the first path, if it is given.
Discover = Callable[[Path | None, Path | None], Awaitable[list[Interpreter]]]


class Interpreters:
    """The result of the discovery; callers wait until it is there."""

    def __init__(
        self,
        default: Path | None,
        discover: Discover = discover,
        downloads: Path | None = None,
    ) -> None:
        self._default = default
        self._downloads = downloads
        self._discover = discover
        self._discovered = trio.Event()
        self._found: list[Interpreter] | None = None

    def start_discovery(self, tasks: Tasks) -> None:
        tasks.start(self._first_discovery)

    async def _first_discovery(self) -> None:
        try:
            self._found = await self._discover(self._default, self._downloads)
        finally:
            self._discovered.set()

    async def rediscover(self) -> list[Interpreter]:
        """Discovers them again: some may have been removed or installed. Raises
        InterpreterUnusable."""
        self._found = await self._discover(self._default, self._downloads)
        return self._found

    async def all(self) -> list[Interpreter]:
        """Oldest version first. Raises InterpreterUnusable if the default has been removed."""
        await self._discovered.wait()
        if self._found is None or not all(os.access(each.path, os.X_OK) for each in self._found):
            return await self.rediscover()
        return self._found
