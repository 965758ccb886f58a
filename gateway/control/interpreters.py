"""Which Pythons this machine has, asked for while the gateway already serves.

Each candidate has to be started to say what it is, and only builds need to know: predictions of
what is deployed do not wait for it.
"""

import os
from pathlib import Path

import trio

from builder import Interpreter, discover
from gateway.background import Tasks


class Interpreters:
    """Those found; whoever asks before they are waits."""

    def __init__(self, default: Path | None) -> None:
        self._default = default
        self._sought = trio.Event()
        self._found: list[Interpreter] | None = None

    def seek(self, tasks: Tasks) -> None:
        tasks.start(self._seek)

    async def _seek(self) -> None:
        try:
            self._found = await discover(self._default)
        finally:
            self._sought.set()

    async def look_again(self) -> list[Interpreter]:
        """All that there are now: some may have been removed, or installed. Raises
        InterpreterUnusable."""
        self._found = await discover(self._default)
        return self._found

    async def all(self) -> list[Interpreter]:
        """Oldest first. Raises InterpreterUnusable where the default has gone meanwhile."""
        await self._sought.wait()
        if self._found is None or not all(os.access(each.path, os.X_OK) for each in self._found):
            return await self.look_again()
        return self._found
