"""Operations: work that a request starts and that outlasts it (a build, an experiment, a rollout).

Each operation is one background task, and that task alone writes how its record ended. `Operation`
is what others see of the task, and how they end it. `Operations` finds a task by the id of its
record while the task runs.

    start -> milestone reached -> ended
             |                    nothing of the task runs, and its record says how it ended
             what the starter waits for, such as the snapshot: done, or it never will be

`cancel` ends the `cancellable` blocks of a task, those that begin later as well.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
import trio

import store
from gateway.background import Tasks
from workers import Log


class Operation:
    """The state of one operation. `announce` is called once for each new thing it waits for."""

    def __init__(self, announce: Callable[[str], object] = lambda _: None) -> None:
        self.milestone = trio.Event()
        self.ended = trio.Event()
        self.cancelled = False
        # What the operation cannot continue without, in words; "" while it continues.
        self.waiting_for = ""
        self._announce = announce
        self._scope = trio.CancelScope()

    @contextmanager
    def lifetime(self) -> Iterator[None]:
        """Around all that the task does."""
        try:
            yield
        finally:
            self.waiting_for = ""
            self.milestone.set()
            self.ended.set()

    @contextmanager
    def cancellable(self, waiting_for: str = "") -> Iterator[None]:
        """A part of the task that `cancel` ends. One at a time."""
        self.waiting_for = waiting_for
        with trio.CancelScope() as self._scope:
            if self.cancelled:
                self._scope.cancel()
            try:
                yield
            finally:
                self.waiting_for = ""

    def cancel(self) -> None:
        """Ends what can be cancelled. `ended` follows."""
        self.cancelled = True
        self._scope.cancel()

    async def cancel_and_wait(self) -> None:
        """Returns when nothing of the operation runs."""
        self.cancel()
        await self.ended.wait()

    def wait_for(self, what: str) -> None:
        """Sets what it waits for. The part after a colon may change without an announcement."""
        if what.partition(":")[0] != self.waiting_for.partition(":")[0]:
            self._announce(what)
        self.waiting_for = what


class LongTask(Protocol):
    """What runs an operation."""

    @property
    def operation(self) -> Operation: ...

    async def run(self) -> None: ...


T = TypeVar("T", bound=LongTask)


class Operations(Generic[T]):
    """The operations of one kind that run now, by the id of their record."""

    def __init__(self, tasks: Tasks) -> None:
        self._background = tasks
        self._running: dict[str, T] = {}

    def start(self, record_id: str, task: T, after: Callable[[T], Awaitable[object]]) -> T:
        """Runs the task in the background; then, once it is not found here any more, `after`.

        The record may be deleted meanwhile: NotFound ends the task, and who deleted the record
        removes the files.
        """
        self._running[record_id] = task
        self._background.start(self._run, record_id, task, after)
        return task

    async def _run(self, record_id: str, task: T, after: Callable[[T], Awaitable[object]]) -> None:
        try:
            with suppress(store.NotFound):
                await task.run()
        finally:
            del self._running[record_id]
        await after(task)

    def get(self, record_id: str) -> T | None:
        return self._running.get(record_id)

    def __iter__(self) -> Iterator[T]:
        """Over those that run now, also while some end."""
        return iter(list(self._running.values()))

    def waiting_for(self, record_id: str) -> str:
        """What an operation cannot continue without, in words; "" if it does not wait."""
        task = self._running.get(record_id)
        return task.operation.waiting_for if task else ""

    async def wait_ended(self, record_id: str) -> None:
        """Returns when the operation has ended, at once if it does not run."""
        if (task := self._running.get(record_id)) is not None:
            await task.operation.ended.wait()


class OperationTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long operations wait before they look or try again, in seconds."""

    # For the last write of an operation while the gateway ends. The next start writes the same.
    last_write: float = 1.0
    # Between two tries to rebuild what was deployed: doubled from the first to the longest.
    first_rebuild_retry: float = 30.0
    longest_rebuild_retry: float = 1800.0
    # Between two tries to decrypt the variables of what was deployed.
    decrypt_retry: float = 30.0
    # Between two checks whether a deployment without a ready replica has lost its interpreter.
    interpreter_check: float = 10.0
    # Between two tries of an experiment to reserve memory.
    memory_retry: float = 1.0
    # From the start to the first automatic collection of garbage; also the least time between two
    # while the disk is low. And between two checks whether one is due.
    first_collection: float = 600.0
    collection_check: float = 10.0


def ended_log(path: Path) -> Log:
    """The log of an operation that has ended."""
    log = Log(path)
    log.close()
    return log
