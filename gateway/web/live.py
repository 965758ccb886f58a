"""Live pages: the regions of a page that change by themselves.

A template marks a region by `{% live "builds" %}...{% endlive %}`. The script of an open, visible
page asks for `/events?page=PATH`. Each time that something may have changed, the handler of that
page runs again, as for a request of the same user, and the regions whose HTML has changed are sent.
So a page that is live needs no code of its own, and shows what it shows when it is loaded.

Something may have changed when the database has changed, and after the seconds that the handler
states where it shows what only memory knows (`refresh`). All open pages together take a bounded
share of the event loop, a tenth where no model is called and a hundredth where many are: they are
rendered one after another, with pauses that are as much longer than the rendering. With many open
pages each is refreshed less often.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from hashlib import blake2b

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
# Seconds of a pause at most: the first rendering of a page compiles its template.
_LONGEST_PAUSE = 1.0
# A comment, so that proxies and browsers keep the connection.
_ALIVE = b": \n\n"
_REGION = re.compile(r'<div id="([\w-]+)" data-live>(.*?)</div><!--live-->', re.DOTALL)


class LiveTag(Extension):
    """`{% live "name" %}...{% endlive %}`: a region that `/events` sends again when it changes."""

    tags = {"live"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        name = parser.parse_expression().as_const()
        body = parser.parse_statements(("name:endlive",), drop_needle=True)
        begin = nodes.Output([nodes.TemplateData(f'<div id="{name}" data-live>')])
        end = nodes.Output([nodes.TemplateData("</div><!--live-->")])
        return [begin.set_lineno(line), *body, end.set_lineno(line)]


def regions_of(html: str) -> dict[str, str]:
    """The live regions of a page, by name. No value can look like one: all values are escaped."""
    return dict(_REGION.findall(html))


class Rendered(msgspec.Struct, frozen=True):
    """A page as it is now, and the seconds after which it may differ without a change in the
    database."""

    html: str
    refresh: float = SELDOM


class PageGone(Exception):
    """The page answers otherwise now: its user or its object is gone. The browser loads it."""


class LivePages:
    """All open pages. `changes` is a number that grows when the database changes; `calls` is the
    number of calls of models that were answered."""

    def __init__(self, changes: Callable[[], int], calls: Callable[[], int], tasks: Tasks) -> None:
        self._changes = changes
        self._calls = calls
        # When the last rendering ended, and the calls until then.
        self._last: tuple[float, int] = (0.0, 0)
        self._tasks = tasks
        self._open: dict[object, str] = {}
        self._changed = trio.Event()
        self._turn = trio.Lock()
        self._next_turn = 0.0
        self._watching = False

    def has_room(self, user: str) -> bool:
        """Whether a user may have one more stream."""
        own = sum(1 for each in self._open.values() if each == user)
        return len(self._open) < MOST_STREAMS and own < MOST_STREAMS_OF_ONE

    async def events(
        self, user: str, render: Callable[[], Awaitable[Rendered]]
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events: `region` for each region, first all of them, then those that changed;
        `gone` as the last one when the page is gone."""
        if not self.has_room(user):  # others were opened since it was asked
            return
        stream = object()
        self._open[stream] = user
        sent: dict[str, bytes] = {}
        try:
            self._watch()
            yield _ALIVE
            while True:
                seen, changed = self._changes(), self._changed
                page = await self._render(render)
                events = list(_changed_regions(page.html, sent))
                yield b"".join(events) or _ALIVE
                with trio.move_on_after(page.refresh):
                    while self._changes() == seen:
                        await changed.wait()
                        changed = self._changed
        except PageGone:
            yield b"event: gone\ndata: {}\n\n"
        finally:
            del self._open[stream]

    async def _render(self, render: Callable[[], Awaitable[Rendered]]) -> Rendered:
        async with self._turn:
            await trio.sleep_until(self._next_turn)
            began = trio.current_time()
            page = await render()
            ended = trio.current_time()
            pause = self._rest(ended) * (ended - began)
            self._next_turn = ended + min(pause, _LONGEST_PAUSE)
        return page

    def _rest(self, now: float) -> float:
        """As many renderings as there were calls of models a second since the last one."""
        (then, before), self._last = self._last, (now, self._calls())
        calls = (self._last[1] - before) / max(now - then, 0.001)
        return min(_LONGEST_REST, max(_REST, calls))

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
                    self._changed.set()
                    self._changed = trio.Event()
        finally:
            self._watching = False


def _changed_regions(html: str, sent: dict[str, bytes]) -> list[bytes]:
    """The events of the regions that differ from what was sent, which is updated."""
    events = []
    for name, content in regions_of(html).items():
        digest = blake2b(content.encode(), digest_size=16).digest()
        if sent.get(name) != digest:
            sent[name] = digest
            data = msgspec.json.encode({"id": name, "html": content})
            events.append(b"event: region\ndata: %b\n\n" % data)
    return events
