"""What is printed reaches its log whole and in order, and can stop nobody but who prints it."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from workers.log import Line, Log, read_log
from workers.output import LINE_LIMIT, Output
from workers.process import pipe


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "logs" / "sample.log")
    yield log
    log.close()


@pytest.fixture
def output() -> Iterator[Output]:
    output = Output()
    yield output
    output.close()


Printer = Callable[[bytes], None]


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


# From a pipe.


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


# To a file.


def test_a_line_survives_its_file() -> None:
    """What is parsed is what was said, whatever blanks the text has."""
    line = Line("2026-11-21T02:35:00.123Z", "stderr", "  two  blanks ")
    assert Line.parse(str(line)) == line


def test_a_log_is_what_was_written(log: Log) -> None:
    """Lines lie in the file in order, with time and stream; several in one write are several."""
    log.write("one\ntwo")
    log.write("three", "stderr")
    read = read_log(log.path)
    assert [(line.stream, line.text) for line in read] == [
        ("stdout", "one"), ("stdout", "two"), ("stderr", "three"),
    ]  # fmt: skip
    assert log.tail(2) == read[1:]
    assert log.tail(0) == []


def test_half_a_surrogate_pair_is_written_escaped(log: Log) -> None:
    """Text that no encoding can say costs no line."""
    log.write("a\ud800b")
    assert read_log(log.path)[0].text == "a\\ud800b"
    assert log.lost == 0


def test_a_log_is_bounded(tmp_path: Path) -> None:
    """Two files of most_bytes at most (and the line that passes the bound), the newest lines."""
    log = Log(tmp_path / "log", most_bytes=10_000)
    for number in range(5_000):
        log.write(f"line {number}")
    log.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 10_100
    kept = [line.text for line in read_log(log.path)]
    assert kept == [f"line {number}" for number in range(5_000 - len(kept), 5_000)]
    assert len(kept) > 250


def test_a_log_goes_on_in_its_file(tmp_path: Path) -> None:
    """A log outlives the object that wrote it."""
    for text in ("before", "after"):
        log = Log(tmp_path / "log")
        log.write(text)
        log.close()
        log.write("after the close")
    assert [line.text for line in read_log(tmp_path / "log")] == ["before", "after"]


@pytest.mark.parametrize("path", ["/dev/full", "/proc/no/such/folder/log"])
def test_a_disk_that_refuses_costs_lines_and_nothing_else(path: str) -> None:
    """Lost lines are counted, the tail still has them, and nobody hears an error."""
    log = Log(Path(path))
    log.write("one\ntwo")
    log.write("three")
    assert log.lost == 3
    assert [line.text for line in log.tail(10)] == ["one", "two", "three"]
    log.close()


def test_a_removed_log_is_gone(tmp_path: Path) -> None:
    """remove takes the older file along, and is content when there is nothing."""
    log = Log(tmp_path / "log", most_bytes=10)
    for _ in range(5):
        log.write("x" * 20)
    log.remove()
    log.remove()
    assert list(tmp_path.iterdir()) == []


# Followers.


async def test_a_follower_reads_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    """Every line once and in order: those before it came, those after, across a rotation, until
    the log is closed."""
    log = Log(tmp_path / "log", most_bytes=200_000)
    expected = [f"line {number}" for number in range(6_000)]
    for text in expected[:1_000]:
        log.write(text)
    got: list[str] = []

    def write_the_rest() -> None:
        for text in expected[1_000:]:
            log.write(text)
        log.close()

    with log.follower() as follower:
        got += [line.text for line in await follower.lines()]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, write_the_rest)
            with trio.fail_after(20):
                while more := await follower.lines():
                    got += [line.text for line in more]
    assert (tmp_path / "log.1").exists()
    assert got == expected


async def test_a_follower_that_begins_late_misses_nothing(tmp_path: Path) -> None:
    """A rotation between following and the first read does not cost the older file."""
    log = Log(tmp_path / "log", most_bytes=1_000)
    with log.follower() as follower:
        for number in range(30):
            log.write(f"line {number}")
        log.close()
        got: list[str] = []
        while more := await follower.lines():
            got += [line.text for line in more]
    assert (tmp_path / "log.1").exists()
    assert got == [f"line {number}" for number in range(30)]


async def test_a_follower_waits_for_the_first_line(log: Log, nursery: trio.Nursery) -> None:
    """A log may be followed before it has a file."""
    with log.follower() as follower:
        nursery.start_soon(trio.to_thread.run_sync, lambda: log.write("hello"))
        with trio.fail_after(10):
            assert [line.text for line in await follower.lines()] == ["hello"]
