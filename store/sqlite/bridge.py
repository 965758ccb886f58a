"""A thread that runs asyncio on uvloop, and the way there and back for Trio.

SQLite's asyncio driver lives where it is at home, and Trio's loop never waits for a disk. One
coroutine goes over in one crossing; its value or its exception comes back. Neither side ever holds
the other's futures or tasks.

Law: what has been handed over is carried out to its end. A caller that is cancelled meanwhile gets
the result all the same and meets its cancellation at its next checkpoint (gotcha G1 in README).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any, TypeVar, cast

import outcome
import trio
import uvloop

Value = TypeVar("Value")
Crossing = Callable[[], Coroutine[Any, Any, None]]


class Bridge:
    """The near end, for one Trio run. `open_bridge` makes it and ends it."""

    def __init__(self) -> None:
        self._open = True
        self._loop = uvloop.new_event_loop()
        self._arrivals: asyncio.Queue[Crossing | None] = asyncio.Queue()  # None: the last one
        self._thread = Thread(target=self._run, name="store")
        self._thread.start()

    async def cross(self, work: Callable[[], Awaitable[Value]]) -> Value:
        """Run `work()` on the far side and return its value or raise its exception.

        Cancelled before the crossing, `work` never starts; after that it cannot be cancelled.
        Raises trio.ClosedResourceError when the bridge is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._open:
            raise trio.ClosedResourceError("the store is closed")
        task = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()

        async def there_and_back() -> None:
            result = await outcome.acapture(work)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        def cannot_abort(_raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            return trio.lowlevel.Abort.FAILED

        self._send(there_and_back)
        return cast(Value, await trio.lowlevel.wait_task_rescheduled(cannot_abort))

    async def close(self) -> None:
        """Let everything that has crossed finish, then end the thread."""
        self._open = False
        self._send(None)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)

    def _send(self, crossing: Crossing | None) -> None:
        self._loop.call_soon_threadsafe(self._arrivals.put_nowait, crossing)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._receive())

    async def _receive(self) -> None:
        async with asyncio.TaskGroup() as crossings:
            while (crossing := await self._arrivals.get()) is not None:
                crossings.create_task(crossing())


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """Open a bridge with its thread; both end with the block."""
    bridge = Bridge()
    try:
        yield bridge
    finally:
        await bridge.close()
