"""Feeds: a log in one encoding, read once for all its followers.

The piece of a log at a position is read and encoded once, in a thread. All followers that reach the
position get the same bytes.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import trio

from workers import Line, Log
from workers.sizes import human_size

# Pieces that a feed keeps for followers that are a little behind.
_KEPT = 4

# Encodes lines for a follower.
Form = Callable[[Sequence[Line]], bytes]


class Waiting(Protocol):
    """A follower that has everything that was written."""

    def wake(self) -> None: ...


class Piece(NamedTuple):
    """The encoded lines of a log from a position to the position `end`."""

    end: int
    data: bytes


class Feed:
    """A log in one encoding."""

    def __init__(self, log: Log, form: Form) -> None:
        self.log = log
        # Followers that have everything that was written.
        self.waiting: set[Waiting] = set()
        self.followers = 0
        self._form = form
        self._kept: OrderedDict[int, Piece] = OrderedDict()
        self._reading: dict[int, trio.Event] = {}
        self._token = trio.lowlevel.current_trio_token()

    def open(self) -> None:
        """Counts one follower more."""
        self.followers += 1
        if self.followers == 1:
            self.log.subscribe(self._notify)

    def close(self) -> None:
        """Counts one follower less."""
        self.followers -= 1
        if not self.followers:
            self.log.unsubscribe(self._notify)

    def _notify(self) -> None:
        """Called in the thread that has written. A follower that begins to wait after this check
        finds the new lines itself."""
        if self.waiting:
            self._token.run_sync_soon(self._wake, idempotent=True)

    def _wake(self) -> None:
        for follower in self.waiting:
            follower.wake()

    async def latest(self, count: int) -> Piece:
        """The last lines, and the position after them."""

        def read() -> Piece:
            lines, end = self.log.latest(count)
            return Piece(end, self._form(lines))

        return await trio.to_thread.run_sync(read)

    async def piece(self, position: int) -> Piece:
        """The piece at a position; empty at the end of the log."""
        while (found := self._kept.get(position)) is None:
            if (reading := self._reading.get(position)) is not None:
                await reading.wait()
                continue
            self._reading[position] = trio.Event()
            try:
                found = await trio.to_thread.run_sync(self._read, position)
            finally:
                self._reading.pop(position).set()
            if found.end == position:
                return found  # more may have been written by the next call
            self._kept[position] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _read(self, position: int) -> Piece:
        block = self.log.read(position)
        lines, missing = block.lines, block.begin - position
        if missing > 0:
            at = lines[0].at if lines else ""
            text = f"[predictd] {human_size(missing)} of this log left out: it was not read in time"
            lines = [Line(at, "stderr", text), *lines]
        return Piece(block.end, self._form(lines))
