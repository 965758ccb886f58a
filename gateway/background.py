"""Work that must not stop half-way because a client disconnected.

Quart cancels a handler when its client disconnects. So changes of state run here, in a nursery that
only the end of the gateway cancels; the handler only waits for them.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio

Args = TypeVarTuple("Args")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class Tasks:
    """Background work of the gateway. A failed task is logged and does not affect other work."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start(self, work: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Runs `work(*args)` in the background."""
        self._nursery.start_soon(self._run, work, *args)

    async def _run(self, work: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        try:
            await work(*args)
        except Exception:
            logger.exception("background_task.failed work=%s", getattr(work, "__qualname__", work))

    async def finish(self, work: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
        """Returns the result of `work(*args)`, which completes even if the caller is cancelled."""
        done = trio.Event()
        results: list[T] = []
        errors: list[Exception] = []

        async def run() -> None:
            try:
                results.append(await work(*args))
            except Exception as error:
                errors.append(error)
            finally:
                done.set()

        self._nursery.start_soon(run)
        await done.wait()
        if errors:
            raise errors[0]
        return results[0]
