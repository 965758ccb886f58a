"""What is printed is taken whole and in order, and can stop nobody but who prints it."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest
import trio

from workers.output import LINE_LIMIT, Output
from workers.process import pipe


@pytest.fixture
def output() -> Iterator[Output]:
    output = Output()
    yield output
    output.close()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
async def printed(output: Output, lines: list[str]) -> Callable[[bytes], "Printed"]:
    """`printed(data)` is a pipe whose writer printed `data`, its lines going to `lines`."""
    return lambda data: Printed(output, lines, data)


class Printed:
    def __init__(self, output: Output, lines: list[str], data: bytes) -> None:
        self._output = output
        read, self.write_end = pipe()
        self._source = output.attach(read, lines.extend)
        self._writer = threading.Thread(target=self._write, args=(data,))
        self._writer.start()

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write_end, data) :]

    async def end(self) -> None:
        """The writer is done and gone, and all of it has been taken."""
        await trio.to_thread.run_sync(self._writer.join)
        os.close(self.write_end)
        await self._output.drain(self._source)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - another thread or process makes it true
            await trio.sleep(0.005)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"no end", ["no end"]),
        (b"\n\nx\n", ["", "", "x"]),
        (b"dos\r\nend\r\n", ["dos", "end"]),
        (b"\x1b[31mred\x1b[0m\n", ["\x1b[31mred\x1b[0m"]),
        (b"bad \xff\xfe here\n", ["bad \ufffd\ufffd here"]),
        (b"cut \xe2\x82", ["cut \ufffd"]),
        ("grüße €\n".encode(), ["grüße €"]),
        (b"10%\r20%\r30%\n", ["10%\r20%\r30%"]),
    ],
)
async def test_lines_are_what_was_printed(
    printed: Callable[[bytes], Printed], lines: list[str], data: bytes, expected: list[str]
) -> None:
    """Text is decoded leniently and is otherwise left alone, colours included."""
    await printed(data).end()
    assert lines == expected


async def test_a_megabyte_without_a_line_end_comes_in_pieces(
    printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """No line is longer than LINE_LIMIT, and the pieces make up the whole, characters uncut."""
    text = "€" * 350_000
    await printed(text.encode()).end()
    assert "".join(lines) == text
    assert max(map(len, lines)) <= LINE_LIMIT


async def test_a_flood_arrives_whole(printed: Callable[[bytes], Printed], lines: list[str]) -> None:
    """Nothing of a flood is lost; who prints it waits."""
    expected = [f"line {number}" for number in range(200_000)]
    await printed("\n".join(expected).encode() + b"\n").end()
    assert lines == expected


async def test_a_prompt_is_shown_while_its_line_is_open(
    printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """What has no line end is taken as it is when nothing follows for a while."""
    prompt = printed(b"50% done ...")
    await until(lambda: lines)
    assert lines == ["50% done ..."]
    await prompt.end()
    assert lines == ["50% done ..."]


async def test_draining_does_not_wait_for_a_survivor(
    printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """Somebody who keeps the pipe open, even printing, does not keep drain from its end."""
    survivor = printed(b"first words\n")
    await until(lambda: lines)
    await survivor._output.drain(survivor._source)
    with pytest.raises(BrokenPipeError):
        os.write(survivor.write_end, b"nobody reads this")
    os.close(survivor.write_end)
    assert lines == ["first words"]


async def test_the_end_of_the_thread_takes_what_is_there(lines: list[str]) -> None:
    """close drains and closes what is still attached."""
    output = Output()
    read, write = pipe()
    output.attach(read, lines.extend)
    os.write(write, b"last")
    output.close()
    with pytest.raises(BrokenPipeError):
        os.write(write, b"nobody")
    os.close(write)
