"""Live regions: which are sent, when, and what all open pages may take of the loop."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import pytest
import trio
from jinja2 import Environment

from gateway.background import Tasks
from gateway.web import live
from gateway.web.live import LivePages, LiveTag, OpenPage, PageGone, Rendered, regions_of


def page(**regions: str) -> str:
    template = "".join(
        f'{{% live "{name}" %}}{{{{ {name} }}}}{{% endlive %}}<hr>' for name in regions
    )
    environment = Environment(extensions=[LiveTag], autoescape=True)
    return environment.from_string(template).render(regions)


class Stage:
    """A page that is open; `html` is what its handler renders now."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.changes = 0
        self.calls_a_second = 0
        self.html: str | None = page(rows="one", state="good")
        self.refresh = live.SELDOM
        self.gone = False
        self.slow = False
        self.rendered: list[float] = []
        self.seconds = 0.0
        self.pages = LivePages(lambda: self.changes, self.calls, Tasks(nursery))

    async def render(self) -> Rendered:
        self.rendered.append(trio.current_time())
        await trio.sleep(self.seconds)
        if self.gone:
            raise PageGone
        return Rendered(self.html, self.refresh)

    def calls(self) -> int:
        return int(self.calls_a_second * trio.current_time())

    def events(self) -> AsyncGenerator[bytes, None]:
        return self.pages.events("ada", OpenPage(self.render, self.slow))


@pytest.fixture
def stage(nursery: trio.Nursery) -> Stage:
    """Each test asks for the clock itself: pytest-trio does not look into fixtures for one."""
    return Stage(nursery)


def names(data: bytes) -> list[str]:
    texts = [line[6:] for line in data.splitlines() if line.startswith(b"data: ")]
    return [msgspec.json.decode(text)["id"] for text in texts]


def test_regions_of_a_page() -> None:
    """A region is found by its name, and no value can look like one."""
    hostile = '</div><!--live--><div id="x" data-live>'
    assert regions_of(page(a="1", b=hostile)) == {
        "a": "1",
        "b": "&lt;/div&gt;&lt;!--live--&gt;&lt;div id=&#34;x&#34; data-live&gt;",
    }


async def test_first_all_regions_then_changed_ones(stage: Stage, autojump_clock: object) -> None:
    """All regions are sent when a page opens, afterwards those that differ."""
    async with aclosing(stage.events()) as events:
        assert names(await anext(events)) == []
        assert names(await anext(events)) == ["rows", "state"]
        stage.html = page(rows="two", state="good")
        stage.changes += 1
        assert names(await anext(events)) == ["rows"]
        assert stage.rendered[-1] - stage.rendered[0] < 1


async def test_page_without_a_change_is_rendered_after_its_refresh(
    stage: Stage, autojump_clock: object
) -> None:
    """What only memory knows is looked at after the seconds that the page states."""
    stage.refresh = 2.0
    async with aclosing(stage.events()) as events:
        for _ in range(4):
            await anext(events)
    gaps = [
        after - before for before, after in zip(stage.rendered, stage.rendered[1:], strict=False)
    ]
    assert gaps == pytest.approx([2.0, 2.0], abs=0.01)


async def test_page_that_is_gone_says_so_and_ends(stage: Stage, autojump_clock: object) -> None:
    """The browser is told to load the page, and the stream ends."""
    async with aclosing(stage.events()) as events:
        await anext(events)
        await anext(events)
        stage.gone = True
        stage.changes += 1
        assert (await anext(events)).startswith(b"event: gone")
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert stage.pages.has_room("ada")


@pytest.mark.parametrize(("calls_a_second", "share"), [(0, 10), (5, 10), (49, 50), (1000, 100)])
async def test_open_pages_take_a_share_of_the_loop(
    stage: Stage, nursery: trio.Nursery, autojump_clock: object, calls_a_second: int, share: int
) -> None:
    """Fifty open pages under constant changes render for a tenth of the time at most, and for the
    less the more models are called, down to a hundredth."""
    stage.seconds, stage.calls_a_second = 0.008, calls_a_second
    for _ in range(50):
        nursery.start_soon(_follow, stage)
    await trio.sleep(100)
    nursery.cancel_scope.cancel()
    most = 100 / (share * stage.seconds)
    assert 0.8 * most < len(stage.rendered) <= 1.1 * most + 1


async def test_pause_is_bounded(
    stage: Stage, nursery: trio.Nursery, autojump_clock: object
) -> None:
    """A page that takes long to render, as at first, does not hold up the others for long."""
    stage.seconds, stage.calls_a_second = 0.5, 1000
    nursery.start_soon(_follow, stage)
    nursery.start_soon(_follow, stage)
    await trio.sleep(10)
    nursery.cancel_scope.cancel()
    assert 6 <= len(stage.rendered) <= 8


async def test_slow_page_holds_up_no_other(
    stage: Stage, nursery: trio.Nursery, autojump_clock: object
) -> None:
    """Pages that read much are rendered beside the others, and for a tenth of the time themselves,
    however long one takes."""
    slow = Stage(nursery)
    slow.pages, slow.slow, slow.seconds = stage.pages, True, 0.8
    stage.seconds = 0.01
    nursery.start_soon(_follow, stage)
    nursery.start_soon(_follow, slow)
    nursery.start_soon(_follow, slow)
    await trio.sleep(100)
    nursery.cancel_scope.cancel()
    assert len(stage.rendered) > 200
    assert 12 <= len(slow.rendered) <= 14


async def test_unchanged_page_sends_nothing(stage: Stage, autojump_clock: object) -> None:
    """A page that its handler knows to be the same is not sent, and not forgotten."""
    async with aclosing(stage.events()) as events:
        await anext(events)
        await anext(events)
        html, stage.html = stage.html, None
        stage.changes += 1
        assert names(await anext(events)) == []
        stage.html = html
        stage.changes += 1
        assert names(await anext(events)) == []


async def _follow(stage: Stage) -> None:
    async with aclosing(stage.events()) as events:
        async for _ in events:
            stage.changes += 1


async def test_one_user_cannot_take_all_streams(
    stage: Stage, nursery: trio.Nursery, autojump_clock: object
) -> None:
    """A user has a bounded number of live pages, so others get theirs."""

    async def follow() -> None:
        async with aclosing(stage.events()) as events:
            async for _ in events:
                pass

    for _ in range(live.MOST_STREAMS_OF_ONE):
        nursery.start_soon(follow)
    await trio.sleep(1)
    assert not stage.pages.has_room("ada")
    assert stage.pages.has_room("bob")
    nursery.cancel_scope.cancel()
