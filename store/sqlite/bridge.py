"""A thread that runs asyncio on uvloop, and calls into it from Trio.

SQLite's asyncio driver runs on its native event loop, and Trio's loop never waits for a disk. A
call hands over one coroutine function; its value or its exception comes back. Neither side holds
futures or tasks of the other.

Law: a call that was handed over runs to its end. A caller that is cancelled meanwhile still gets
the result, and is cancelled at its next checkpoint (gotcha G1).
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
Call = Callable[[], Coroutine[Any, Any, None]]


class Bridge:
    """The side of Trio, for one run. `open_bridge` makes and closes it."""

    def __init__(self) -> None:
        self._open = True
        self._loop = uvloop.new_event_loop()
        self._calls: asyncio.Queue[Call | None] = asyncio.Queue()  # None ends the thread
        self._thread = Thread(target=self._run, name="store")
        self._thread.start()

    async def run(self, work: Callable[[], Awaitable[Value]]) -> Value:
        """Run `work()` in the thread and return its value or raise its exception.

        A caller that is cancelled before the call never starts `work`; later it cannot be
        cancelled. Raises trio.ClosedResourceError when the bridge is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._open:
            raise trio.ClosedResourceError("the store is closed")
        task = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()

        async def call() -> None:
            result = await outcome.acapture(work)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        def cannot_abort(_raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            return trio.lowlevel.Abort.FAILED

        self._send(call)
        return cast(Value, await trio.lowlevel.wait_task_rescheduled(cannot_abort))

    async def close(self) -> None:
        """Wait for all calls to finish, then end the thread."""
        self._open = False
        self._send(None)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)

    def _send(self, call: Call | None) -> None:
        self._loop.call_soon_threadsafe(self._calls.put_nowait, call)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._receive())

    async def _receive(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while (call := await self._calls.get()) is not None:
                tasks.create_task(call())


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """Open a bridge with its thread, until the end of the block."""
    bridge = Bridge()
    try:
        yield bridge
    finally:
        await bridge.close()
