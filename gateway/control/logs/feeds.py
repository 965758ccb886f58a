"""Feeds: a log in one form, read once for all who follow it.

The piece of a log at a position is read and encoded once, in a thread, and all followers that
come there get the same bytes.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import trio

from workers import Line, Log
from workers.sizes import human_size

# Pieces that a feed keeps for followers that are nearly where the others are.
_KEPT = 4

# How lines are encoded, with whatever else a follower is told of them.
Form = Callable[[Sequence[Line]], bytes]


class Waiting(Protocol):
    """One that has all there is."""

    def wake(self) -> None: ...


class Piece(NamedTuple):
    """What a log has at a position, encoded: up to the position `end`."""

    end: int
    data: bytes


class Feed:
    """A log in one form, for all who follow it in that form."""

    def __init__(self, log: Log, form: Form) -> None:
        self.log = log
        # Those that have all there is.
        self.waiting: set[Waiting] = set()
        self.followers = 0
        self._form = form
        self._kept: OrderedDict[int, Piece] = OrderedDict()
        self._reading: dict[int, trio.Event] = {}
        self._token = trio.lowlevel.current_trio_token()

    def open(self) -> None:
        """One more follows it."""
        self.followers += 1
        if self.followers == 1:
            self.log.subscribe(self._ring)

    def close(self) -> None:
        """One less."""
        self.followers -= 1
        if not self.followers:
            self.log.unsubscribe(self._ring)

    def _ring(self) -> None:
        """In whatever thread has written. A follower that begins to wait after this look finds the
        news by itself."""
        if self.waiting:
            self._token.run_sync_soon(self._wake, idempotent=True)

    def _wake(self) -> None:
        for follower in self.waiting:
            follower.wake()

    async def latest(self, count: int) -> Piece:
        """The last lines, and where one that has them goes on."""

        def read() -> Piece:
            lines, end = self.log.latest(count)
            return Piece(end, self._form(lines))

        return await trio.to_thread.run_sync(read)

    async def piece(self, position: int) -> Piece:
        """What follows a position; nothing at the end of what there is."""
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
                return found  # there may be more the next time
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
