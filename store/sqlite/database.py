"""The near side: what Trio code calls to read and to change what the store remembers.

    async with open_database(folder / "predictd.db") as database:
        build = await database.write(builds.advance, build.id, "started")

A whole transaction is one coroutine function that takes a connection, such as those of `projects`,
`models`, `builds` and `deployments`. It runs on the store's own thread and loop, so it awaits
nothing but its connection. When `write` returns, the change survives `kill -9` and a power cut.
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
        """How many rows were changed since it was opened."""
        return self._connections.changes

    async def write(
        self,
        work: Work[Arguments, Value],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """Run `work(connection, ...)` as one transaction and return its value.

        It is committed when this returns; an exception rolls it back and is raised here. Once
        handed over it cannot be cancelled. Writes are served one at a time, as they came. The
        entry of the deed that it is part of (`store.doing`) goes into the same transaction.
        """
        if (deed := current()) is None or not deed.take():
            return await self._bridge.cross(
                lambda: self._connections.write(lambda writer: work(writer, *args, **kwargs))
            )

        async def entered(writer: aiosqlite.Connection) -> Value:
            value = await work(writer, *args, **kwargs)
            if (entry := deed.describe(value)) is not None:
                await audit.append(writer, entry)
            return value

        try:
            return await self._bridge.cross(lambda: self._connections.write(entered))
        except BaseException:
            deed.give_back()
            raise

    async def write_if_room(
        self,
        work: Work[Arguments, Value],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """As `write`, for what matters less than the room that is kept for a full disk."""
        return await self._bridge.cross(
            lambda: self._connections.write(
                lambda writer: work(writer, *args, **kwargs), may_make_room=False
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
        return await self._bridge.cross(
            lambda: self._connections.read(lambda reader: work(reader, *args, **kwargs))
        )

    async def read_apart(
        self,
        work: Work[Arguments, Value],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """As `read`, for what takes long: it keeps no other reader and no writer waiting."""
        return await self._bridge.cross(
            lambda: self._connections.read_apart(lambda reader: work(reader, *args, **kwargs))
        )

    async def give_back(self) -> bool:
        """Make the file shorter by some of the pages that are free; return whether there are more.

        Each turn is a transaction of its own, of some milliseconds, so others write in between.
        """
        return await self._bridge.cross(self._connections.give_back)


async def _accept(_: aiosqlite.Connection) -> None:
    pass


@asynccontextmanager
async def open_database(
    path: Path,
    *,
    make_room: Callable[[], bool] = lambda: False,
    before: Callable[[aiosqlite.Connection], Awaitable[None]] = _accept,
) -> AsyncIterator[Database]:
    """Open the database at `path`, made and migrated if need be; it closes with the block.

    `make_room` is called in the store's thread when the disk is full, and says whether a second
    try is worth it. `before` may refuse a database that is whole, before it is changed. Raises
    SchemaTooNew, StoreDamaged, or StoreFailed when it cannot be opened, and what `before` raises.
    """
    async with open_bridge() as bridge:
        connections = Connections(path, make_room, before)
        await bridge.cross(connections.open)
        try:
            yield Database(bridge, connections)
        finally:
            with trio.CancelScope(shield=True):
                await bridge.cross(connections.close)
