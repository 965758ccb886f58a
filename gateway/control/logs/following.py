"""Following logs as they grow: each log is read once, however many clients follow it.

A follower is a position in each of its logs (`workers.Log`). What it has not read is in the log's
files, so a client that does not read costs no memory but the piece that is being sent to it. If it
falls behind by more than the files hold, a line says how much was left out. The followers of one
log share its feed (`feeds.py`).

Nothing polls: a write to a log wakes the followers that wait for it, through a queue (`Turns`).
Turns are given one at a time, with pauses, in rotation over the users. So a thousand followers do
not run in one step of the event loop, and take no more than a share of it.
"""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import trio

from gateway.background import Tasks
from gateway.control.logs.feeds import Feed, Form
from gateway.errors import Refusal
from workers import Log

# Followers of one log, or of the logs of one model; and of all logs together.
MOST_OF_ONE = 2048
MOST_OF_ALL = 4096
# Seconds between two turns, and between two turns of a follower that had everything.
PAUSE = 0.001
GATHER = 0.05


class Follower:
    """A client that follows logs; `flow` is the user that it counts for."""

    def __init__(self, flow: str, turns: "Turns") -> None:
        self.flow = flow
        self._turns = turns
        self._turn = trio.Event()
        self._positions: dict[Feed, int] = {}
        # It had everything: what is written next is gathered for a moment and sent together.
        self._gathers = False

    @property
    def ended(self) -> bool:
        """Whether all its logs have ended and it has read them."""
        return not self._positions

    def add(self, feed: Feed, position: int) -> None:
        """Follows this log too, from a position."""
        feed.open()
        self._positions[feed] = position

    def close(self) -> None:
        for feed in list(self._positions):
            self._drop(feed)

    def _drop(self, feed: Feed) -> None:
        del self._positions[feed]
        feed.close()

    def wake(self) -> None:
        """Makes `next` return."""
        self._turns.ask(self)

    def take_turn(self) -> None:
        self._turn.set()

    async def next(self) -> bytes:
        """The next piece of any of its logs, once there is one; empty if it was woken, if a log has
        ended, or if the new lines are not for it."""
        await self._wait()
        for feed, position in list(self._positions.items()):
            if feed.log.has_more(position):
                piece = await feed.piece(position)
                # The log that was read last is read last the next time.
                del self._positions[feed]
                self._positions[feed] = piece.end
                self._gathers = not feed.log.has_more(piece.end) and not feed.log.closed
                return piece.data
            if feed.log.closed:
                self._drop(feed)
        return b""

    async def _wait(self) -> None:
        """Returns when there may be something to read and the follower has its turn."""
        if self._gathers:
            self._gathers = False
            await trio.sleep(GATHER)
        feeds = list(self._positions)
        # In this order: what is written in between wakes the follower.
        for feed in feeds:
            feed.waiting.add(self)
        if any(f.log.has_more(at) or f.log.closed for f, at in self._positions.items()):
            self._turns.ask(self)
        try:
            await self._turn.wait()
        finally:
            self._turns.withdraw(self)
            for feed in feeds:
                feed.waiting.discard(self)
            self._turn = trio.Event()


class Turns:
    """The queue of followers with something to read: one of each user in rotation."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._queues: OrderedDict[str, dict[Follower, None]] = OrderedDict()
        self._giving = False
        # The number of turns so far, for tests.
        self.given = 0

    def ask(self, follower: Follower) -> None:
        """Queues the follower, if it is not queued already."""
        self._queues.setdefault(follower.flow, {})[follower] = None
        if not self._giving:
            self._giving = True
            self._tasks.start(self._give)

    def withdraw(self, follower: Follower) -> None:
        queue = self._queues.get(follower.flow, {})
        queue.pop(follower, None)
        if not queue:
            self._queues.pop(follower.flow, None)

    async def _give(self) -> None:
        """Runs while followers are queued."""
        try:
            while self._queues:
                flow, queue = next(iter(self._queues.items()))
                follower = next(iter(queue))
                self.withdraw(follower)
                if flow in self._queues:
                    self._queues.move_to_end(flow)
                self.given += 1
                follower.take_turn()
                await trio.sleep(PAUSE)
        finally:
            self._giving = False


class LogFollowers:
    """All followers and their feeds."""

    def __init__(self, tasks: Tasks) -> None:
        self.turns = Turns(tasks)
        # Each lives while it is followed.
        self._feeds: WeakValueDictionary[Hashable, Feed] = WeakValueDictionary()
        self._followers: dict[Follower, str] = {}

    def admit(self, what: str, flow: str) -> None:
        """Raises Refusal if too many clients follow `what`, an id, or any logs."""
        alike = [follower for follower, other in self._followers.items() if other == what]
        _check_share(alike, MOST_OF_ONE, flow, "this log")
        _check_share(self._followers, MOST_OF_ALL, flow, "logs")

    @contextmanager
    def follower(self, what: str, flow: str) -> Iterator[Follower]:
        """A follower of `what`, during the block."""
        follower = Follower(flow, self.turns)
        self._followers[follower] = what
        try:
            yield follower
        finally:
            follower.close()
            del self._followers[follower]

    def feed(self, log: Log, name: str, form: Form) -> Feed:
        """The feed of a log in the encoding `name`. A log that has ended may have several
        objects."""
        key = (log.path, name, None if log.closed else log)
        if (feed := self._feeds.get(key)) is None:
            feed = self._feeds[key] = Feed(log, form)
        return feed


def _check_share(followers: Collection[Follower], most: int, flow: str, what: str) -> None:
    """A user gets one more while it has fewer than are free, so the last ones are for users with
    few."""
    mine = sum(follower.flow == flow for follower in followers)
    if mine >= most - len(followers):
        count = len(followers)
        raise Refusal(
            "gateway.overloaded",
            f"{count:,} of {most:,} clients follow {what}, {mine:,} of them of this user",
        )
