"""Live pages: the regions of a page that change by themselves.

A template marks a region by `{% live "builds" %}...{% endlive %}`. The script of an open, visible
page asks for `/events?page=PATH`. Each time that something may have changed, the handler of that
page runs again, as for a request of the same user, and the regions whose HTML has changed are sent.
So a page that is live needs no code of its own, and shows what it shows when it is loaded.

Something may have changed when the database has changed, and after the seconds that the handler
states where it shows what only memory knows (`refresh`). Where the handler then reads what it read
before, nothing is rendered (`inputs.py`). All open pages together take a bounded share of the event
loop, a tenth where no model is called and a hundredth where many are: they are rendered one after
another, with pauses that are as much longer than the rendering. With many open pages each is
refreshed less often. Pages that read much take turns of their own, so that no other page waits.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import trio
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from gateway.background import Tasks

# Streams at once, in total and of one user: one for each visible page.
MOST_STREAMS, MOST_STREAMS_OF_ONE = 1000, 32
# Seconds between two refreshes without a change, unless the page states others.
SELDOM = 30.0
# Seconds between two looks at whether the database has changed.
_LOOK = 0.25
# A pause after a rendering, in multiples of its time: the more calls of models are answered a
# second, the longer it is, between these.
_REST, _LONGEST_REST = 9.0, 99.0
# Seconds of a pause at most: the first rendering of a page compiles its template. The time of slow
# pages is mostly that of SQLite, which they are to use no more than that.
_LONGEST_PAUSE, _LONGEST_SLOW_PAUSE = 1.0, 20.0
# A comment, so that proxies and browsers keep the connection.
_ALIVE = b": \n\n"
_BEGIN, _NAMED, _END = '<div id="', '" data-live>', "</div><!--live-->"


class LiveTag(Extension):
    """`{% live "name" %}...{% endlive %}`: a region that `/events` sends again when it changes."""

    tags = {"live"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        name = parser.parse_expression().as_const()
        body = parser.parse_statements(("name:endlive",), drop_needle=True)
        begin = nodes.Output([nodes.TemplateData(f"{_BEGIN}{name}{_NAMED}")])
        end = nodes.Output([nodes.TemplateData(_END)])
        return [begin.set_lineno(line), *body, end.set_lineno(line)]


def regions_of(html: str) -> dict[str, str]:
    """The live regions of a page, by name. No value can look like one: all values are escaped."""
    found = {}
    for part in html.split(_END)[:-1]:
        before, _, content = part.rpartition(_NAMED)
        found[before.rpartition(_BEGIN)[2]] = content
    return found


class Rendered(msgspec.Struct, frozen=True):
    """A page as it is now, None if it is as it was, and the seconds after which it may differ
    without a change in the database."""

    html: str | None
    refresh: float = SELDOM


class OpenPage(NamedTuple):
    """How a page is rendered. A `slow` one reads much."""

    render: Callable[[], Awaitable[Rendered]]
    slow: bool = False


class PageGone(Exception):
    """The page answers otherwise now: its user or its object is gone. The browser loads it."""


class LivePages:
    """All open pages. `changes` is a number that grows when the database changes; `calls` is the
    number of calls of models that were answered."""

    def __init__(self, changes: Callable[[], int], calls: Callable[[], int], tasks: Tasks) -> None:
        self._changes = changes
        self._tasks = tasks
        self._open: dict[object, str] = {}
        self._unchanged = trio.lowlevel.ParkingLot()
        self._turns = _Turns(calls, _LONGEST_PAUSE)
        self._slow_turns = _Turns(calls, _LONGEST_SLOW_PAUSE)
        self._watching = False

    def has_room(self, user: str) -> bool:
        """Whether a user may have one more stream."""
        own = sum(1 for each in self._open.values() if each == user)
        return len(self._open) < MOST_STREAMS and own < MOST_STREAMS_OF_ONE

    async def events(self, user: str, page: OpenPage) -> AsyncGenerator[bytes, None]:
        """Server-sent events: `region` for each region, first all of them, then those that changed;
        `gone` as the last one when the page is gone."""
        if not self.has_room(user):  # others were opened since it was asked
            return
        stream = object()
        self._open[stream] = user
        sent: dict[str, bytes] = {}
        turns = self._slow_turns if page.slow else self._turns
        try:
            self._watch()
            yield _ALIVE
            while True:
                async with turns.one():
                    seen = self._changes()
                    found = await page.render()
                yield await _changed_regions(found.html, sent) or _ALIVE
                with trio.move_on_after(found.refresh):
                    while self._changes() == seen:
                        await self._unchanged.park()
        except PageGone:
            yield b"event: gone\ndata: {}\n\n"
        finally:
            del self._open[stream]

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._tasks.start(self._look)

    async def _look(self) -> None:
        """Runs while pages are open."""
        seen = self._changes()
        try:
            while self._open:
                await trio.sleep(_LOOK)
                if (now := self._changes()) != seen:
                    seen = now
                    await self._wake()
        finally:
            self._watching = False

    async def _wake(self) -> None:
        """Wakes the pages one by one: together they would be one long step of the loop."""
        for _ in range(len(self._unchanged)):
            self._unchanged.unpark()
            await trio.lowlevel.checkpoint()


class _Turns:
    """Pages are rendered one after another, with pauses. `calls` is as for LivePages."""

    def __init__(self, calls: Callable[[], int], longest_pause: float) -> None:
        self._calls = calls
        self._longest_pause = longest_pause
        # When the last rendering ended, and the calls until then.
        self._last: tuple[float, int] = (0.0, 0)
        self._lock = trio.Lock()
        self._next = 0.0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A turn. The pause is after it, for the others only."""
        async with self._lock:
            await trio.sleep_until(self._next)
            began = trio.current_time()
            yield
            ended = trio.current_time()
            pause = self._rest(ended) * (ended - began)
            self._next = ended + min(pause, self._longest_pause)

    def _rest(self, now: float) -> float:
        """As many renderings as there were calls of models a second since the last one."""
        (then, before), self._last = self._last, (now, self._calls())
        calls = (self._last[1] - before) / max(now - then, 0.001)
        return min(_LONGEST_REST, max(_REST, calls))


async def _changed_regions(html: str | None, sent: dict[str, bytes]) -> bytes:
    """The events of the regions that differ from what was sent, which is updated."""
    events = []
    for name, content in regions_of(html or "").items():
        await trio.lowlevel.checkpoint()
        digest = blake2b(content.encode(), digest_size=16).digest()
        if sent.get(name) != digest:
            sent[name] = digest
            data = msgspec.json.encode({"id": name, "html": content})
            events.append(b"event: region\ndata: %b\n\n" % data)
    return b"".join(events)
