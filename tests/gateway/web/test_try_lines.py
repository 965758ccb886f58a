"""The lines of a try, followed by its name."""

import trio
import trio.testing

from gateway.web.try_lines import TryLines

NAME = "0123456789abcdef"
END = b"event: end\ndata: {}\n\n"


async def followed(lines: TryLines, user: str = "ada", name: str = NAME) -> bytes:
    return b"".join([each async for each in lines.follow(user, name)])


async def test_lines_are_followed_by_their_name() -> None:
    """Who follows first waits for the try, and who comes later gets the lines of before."""
    lines, found = TryLines(), list[bytes]()

    async def follow() -> None:
        found.append(await followed(lines))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        with lines.printing("ada", NAME) as show:
            show("one")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(follow)
            show("<two>")
            await trio.testing.wait_all_tasks_blocked()
    both = b': \n\nevent: line\ndata: "one"\n\nevent: line\ndata: "<two>"\n\n' + END
    assert found == [both, both]
    assert lines._tries == {}


async def test_lines_of_others_are_not_found(autojump_clock: trio.testing.MockClock) -> None:
    """A name of another user, an unknown one and one that is none have no lines."""
    lines = TryLines()
    with lines.printing("ada", NAME) as show:
        show("secret")
        for user, name in (("eve", NAME), ("ada", "f" * 16), ("ada", "<b>")):
            assert await followed(lines, user, name) == b": \n\n" + END
    assert lines._tries == {}


async def test_number_of_lines_is_bounded() -> None:
    """A function that prints without end takes no more memory."""
    lines = TryLines()
    with lines.printing("ada", NAME) as show:
        for n in range(5000):
            show(str(n))
        async with trio.open_nursery() as nursery:
            found = list[bytes]()

            async def follow() -> None:
                found.append(await followed(lines))

            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert len(lines._tries) == 0
