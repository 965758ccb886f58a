"""Writes of what has happened already, retried until the disk accepts them.

A request of a client may be refused while the disk is full. The end of a process may not be
forgotten because of it: the row would claim that the process still runs.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite
import trio

import store
from gateway.background import Tasks
from store import Database

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class RetryingWriter:
    """Writes that are not lost while the gateway runs. `pause` is the time between two tries, in
    seconds."""

    def __init__(self, database: Database, tasks: Tasks, *, pause: float = 1.0) -> None:
        self._database = database
        self._tasks = tasks
        self._pause = pause

    async def write_until_accepted(
        self,
        work: Callable[Concatenate[aiosqlite.Connection, P], Awaitable[T]],
        *args: P.args,
        **named: P.kwargs,
    ) -> T:
        """Returns when the disk has accepted the write, however long that takes. Raises what
        `work` raises, but StoreFailed."""
        while True:
            try:
                return await self._database.write(work, *args, **named)
            except store.StoreFailed as error:
                logger.error("write.failed retry_in=%ss: %s", self._pause, error)
                await trio.sleep(self._pause)

    async def write_or_retry_later(
        self,
        work: Callable[Concatenate[aiosqlite.Connection, P], Awaitable[object]],
        *args: P.args,
        **named: P.kwargs,
    ) -> None:
        """Tries once. If the disk refuses, retries in the background: to serve matters more."""
        try:
            await self._database.write(work, *args, **named)
        except store.StoreFailed as error:
            logger.error("write.failed retry_in=%ss: %s", self._pause, error)
            self._tasks.start(partial(self.write_until_accepted, work, *args, **named))
