"""Shortages: the kernel has no descriptor, process, thread or memory left for us, for now.

A shortage is not a mistake of the model or of ours: it passes, or an operator raises a limit. So a
failed step is retried, and a step that must be done (ending processes, removing what they left) is
retried until it is done. A shortage does not mean that a thing is gone already: see gotcha G2 in
README.
"""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import trio

from workers.retry_pauses import RetryPauses

Args = TypeVarTuple("Args")
T = TypeVar("T")

logger = logging.getLogger(__name__)

DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
TASKS = (errno.EAGAIN,)
MEMORY = (errno.ENOMEM, errno.ENOBUFS)
# What CPython raises when the kernel makes no thread.
_NO_THREAD = "can't start new thread"


class Shortage(OSError):
    """A shortage that was foreseen; its text names the limit and how to raise it."""

    def __str__(self) -> str:
        return str(self.strerror)


def is_shortage(error: BaseException) -> bool:
    """Whether the machine lacked a resource, and nothing is wrong."""
    if isinstance(error, OSError):
        return error.errno in (*DESCRIPTORS, *TASKS, *MEMORY)
    return isinstance(error, MemoryError) or is_without_thread(error)


def is_without_thread(error: BaseException) -> bool:
    """Whether no thread could be started."""
    return isinstance(error, RuntimeError) and str(error) == _NO_THREAD


@contextmanager
def suppressed() -> Iterator[None]:
    """`contextlib.suppress(OSError)`, except that it raises shortages."""
    try:
        yield
    except OSError as error:
        if is_shortage(error):
            raise


async def in_thread(
    work: Callable[[*Args], T], *args: *Args, limiter: trio.CapacityLimiter | None = None
) -> T:
    """`trio.to_thread.run_sync`, except that it raises OSError when no thread can start."""
    try:
        return await trio.to_thread.run_sync(work, *args, limiter=limiter)
    except RuntimeError as error:
        if not is_without_thread(error):
            raise
        raise OSError(errno.EAGAIN, "no thread can be started") from error


async def surely(
    work: Callable[[*Args], object],
    *args: *Args,
    limiter: trio.CapacityLimiter | None = None,
    timeouts: RetryPauses = RetryPauses(),  # noqa: B008 - it is frozen
) -> None:
    """Does what must be done, in a thread, and retries it after a shortage. If it is cancelled
    while it waits for the next attempt, it makes that attempt at once in the current thread."""
    pause = timeouts.retry_first
    while True:
        try:
            with trio.CancelScope(shield=True):
                await in_thread(work, *args, limiter=limiter)
            return
        except (OSError, MemoryError) as error:
            if not is_shortage(error):
                raise
            if pause == timeouts.retry_first:
                logger.warning("work.retried work=%s: %s", work.__name__, error)
        try:
            await trio.sleep(pause)
        except trio.Cancelled:
            _last_attempt(work, *args)
            raise
        pause = min(2 * pause, timeouts.retry_most)


def _last_attempt(work: Callable[[*Args], object], *args: *Args) -> None:
    try:
        work(*args)
    except (OSError, MemoryError) as error:
        logger.error("work.abandoned work=%s: %s", work.__name__, error)
