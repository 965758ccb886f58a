"""Following logs as they grow: each is read once, however many follow it.

A follower is a position in each of its logs (`workers.Log`). What it has not taken lies in the
log's files, so one that does not read costs no memory but the piece that is being sent to it;
where it falls behind by more than the files hold, a line says how much was left out. What
followers of one log share is its feed (`feeds.py`).

Nothing polls: a write to a log wakes those who wait for more of it, by way of a line in which
followers wait for their turn (`Turns`). Turns are given one at a time with pauses between, in
rotation over the users. So a thousand followers do not run in one step of the loop, and take no
more than a share of it.
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

# Of one log, or the logs of one model; and of all, whatever they follow.
MOST_OF_ONE = 2048
MOST_OF_ALL = 4096
# Between two turns, and between two of one follower that has had all there is: seconds.
PAUSE = 0.001
GATHER = 0.05


class Follower:
    """One who follows logs; `flow` is the user that it counts for."""

    def __init__(self, flow: str, turns: "Turns") -> None:
        self.flow = flow
        self._turns = turns
        self._turn = trio.Event()
        self._positions: dict[Feed, int] = {}
        # It had all there was: what comes next is gathered for a moment, and sent together.
        self._gathers = False

    @property
    def ended(self) -> bool:
        """Whether it has all of all its logs, and no more will come."""
        return not self._positions

    def add(self, feed: Feed, position: int) -> None:
        """From now on it follows this one, too."""
        feed.open()
        self._positions[feed] = position

    def close(self) -> None:
        for feed in list(self._positions):
            self._drop(feed)

    def _drop(self, feed: Feed) -> None:
        del self._positions[feed]
        feed.close()

    def wake(self) -> None:
        """`next` returns."""
        self._turns.ask(self)

    def take_turn(self) -> None:
        self._turn.set()

    async def next(self) -> bytes:
        """The next piece of any of its logs, when there is one; nothing where it was woken, or a
        log has ended, or has lines that are not told."""
        await self._wait()
        for feed, position in list(self._positions.items()):
            if feed.log.has_more(position):
                piece = await feed.piece(position)
                # The last to have been read is the last to be read again.
                del self._positions[feed]
                self._positions[feed] = piece.end
                self._gathers = not feed.log.has_more(piece.end) and not feed.log.closed
                return piece.data
            if feed.log.closed:
                self._drop(feed)
        return b""

    async def _wait(self) -> None:
        """Until there may be something, and its turn has come."""
        if self._gathers:
            self._gathers = False
            await trio.sleep(GATHER)
        feeds = list(self._positions)
        # In this order: what is written in between wakes it.
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
    """The line of followers for whom there is something. One of each user after the other."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._lines: OrderedDict[str, dict[Follower, None]] = OrderedDict()
        self._giving = False
        # For tests: how many there were.
        self.given = 0

    def ask(self, follower: Follower) -> None:
        """It is to have a turn, if it does not wait for one already."""
        self._lines.setdefault(follower.flow, {})[follower] = None
        if not self._giving:
            self._giving = True
            self._tasks.start(self._give)

    def withdraw(self, follower: Follower) -> None:
        line = self._lines.get(follower.flow, {})
        line.pop(follower, None)
        if not line:
            self._lines.pop(follower.flow, None)

    async def _give(self) -> None:
        """Runs only while there are followers in the line."""
        try:
            while self._lines:
                flow, line = next(iter(self._lines.items()))
                follower = next(iter(line))
                self.withdraw(follower)
                if flow in self._lines:
                    self._lines.move_to_end(flow)
                self.given += 1
                follower.take_turn()
                await trio.sleep(PAUSE)
        finally:
            self._giving = False


class LogFollowers:
    """All who follow logs, and what they follow."""

    def __init__(self, tasks: Tasks) -> None:
        self.turns = Turns(tasks)
        # Each for as long as it is followed.
        self._feeds: WeakValueDictionary[Hashable, Feed] = WeakValueDictionary()
        self._followers: dict[Follower, str] = {}

    def admit(self, what: str, flow: str) -> None:
        """Raises Refusal where a user cannot follow `what`, an id, because too many do."""
        alike = [follower for follower, other in self._followers.items() if other == what]
        _check_places(alike, MOST_OF_ONE, flow, "this log")
        _check_places(self._followers, MOST_OF_ALL, flow, "logs")

    @contextmanager
    def follower(self, what: str, flow: str) -> Iterator[Follower]:
        """One more that follows `what`."""
        follower = Follower(flow, self.turns)
        self._followers[follower] = what
        try:
            yield follower
        finally:
            follower.close()
            del self._followers[follower]

    def feed(self, log: Log, name: str, form: Form) -> Feed:
        """The log in the form of that name. Of a log that is not written any more there may be
        several objects."""
        key = (log.path, name, None if log.closed else log)
        if (feed := self._feeds.get(key)) is None:
            feed = self._feeds[key] = Feed(log, form)
        return feed


def _check_places(followers: Collection[Follower], most: int, flow: str, what: str) -> None:
    """A user gets one more while it has fewer than are free: the last are for those with few."""
    mine = sum(follower.flow == flow for follower in followers)
    if mine >= most - len(followers):
        count = len(followers)
        raise Refusal(
            "gateway.overloaded",
            f"{count:,} of {most:,} clients follow {what}, {mine:,} of them of this user",
        )
