"""The interface of the store for Trio code.

    async with open_database(folder / "predictd.db") as database:
        build = await database.write(builds.advance, build.id, "started")

A transaction is one coroutine function that takes a connection, such as the methods of the tables.
It runs in the store's own thread and loop, so it awaits nothing but its connection. When `write`
returns, the change survives `kill -9` and a power cut.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite
import trio

from store.audit_scope import current
from store.sqlite.bridge import Bridge, open_bridge
from store.sqlite.connections import Connections
from store.tables import audit

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")
Work = Callable[Concatenate[aiosqlite.Connection, Arguments], Awaitable[Value]]


class Database:
    """An open database. `open_database` makes it and closes it."""

    def __init__(self, bridge: Bridge, connections: Connections) -> None:
        self._bridge = bridge
        self._connections = connections

    @property
    def changes(self) -> int:
        """The number of rows changed since the opening."""
        return self._connections.changes

    async def write(
        self,
        work: Work[Arguments, Value],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """Run `work(connection, ...)` as one transaction and return its value.

        It is committed when this returns; an exception rolls it back and is raised here. After
        the handover it cannot be cancelled. Writes run one at a time, in the order of their
        calls. A pending audit entry (`store.auditing`) goes into the same transaction.
        """
        if (pending := current()) is None or not pending.claim():
            return await self._bridge.run(
                lambda: self._connections.write(lambda writer: work(writer, *args, **kwargs))
            )

        async def audited(writer: aiosqlite.Connection) -> Value:
            value = await work(writer, *args, **kwargs)
            if (entry := pending.describe(value)) is not None:
                await audit.append(writer, entry)
            return value

        try:
            return await self._bridge.run(lambda: self._connections.write(audited))
        except BaseException:
            pending.release()
            raise

    async def write_if_space(
        self,
        work: Work[Arguments, Value],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """As `write`, for changes that are less important than the ballast."""
        return await self._bridge.run(
            lambda: self._connections.write(
                lambda writer: work(writer, *args, **kwargs), may_free_space=False
            )
        )

    async def read(
        self,
        work: Work[Arguments, Value],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """Run `work(connection, ...)` on one consistent view and return its value."""
        return await self._bridge.run(
            lambda: self._connections.read(lambda reader: work(reader, *args, **kwargs))
        )

    async def read_separately(
        self,
        work: Work[Arguments, Value],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """As `read`, for long work: no other reader and no writer waits for it."""
        return await self._bridge.run(
            lambda: self._connections.read_separately(lambda reader: work(reader, *args, **kwargs))
        )

    async def shrink(self) -> bool:
        """Shorten the file by some of its free pages; return whether more are free.

        Each call is one transaction of a few milliseconds, so others write in between.
        """
        return await self._bridge.run(self._connections.shrink)


async def _accept(_: aiosqlite.Connection) -> None:
    pass


@asynccontextmanager
async def open_database(
    path: Path,
    *,
    free_space: Callable[[], bool] = lambda: False,
    before: Callable[[aiosqlite.Connection], Awaitable[None]] = _accept,
) -> AsyncIterator[Database]:
    """Open the database at `path` until the end of the block; create and migrate it if needed.

    `free_space` is called in the store's thread when the disk is full, and returns whether a retry
    is useful. `before` may refuse an undamaged database before it is changed. Raises SchemaTooNew,
    StoreDamaged, StoreFailed, and what `before` raises.
    """
    async with open_bridge() as bridge:
        connections = Connections(path, free_space, before)
        await bridge.run(connections.open)
        try:
            yield Database(bridge, connections)
        finally:
            with trio.CancelScope(shield=True):
                await bridge.run(connections.close)
