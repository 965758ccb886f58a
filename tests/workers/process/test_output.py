"""Output is read whole and in order, and can delay only the process that prints it."""

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trio

from tests.faults.matrix import fault
from tests.support.polling import wait_until
from workers.process.output import BURST, LINE_LIMIT, RATE, Output, TokenBucket
from workers.process.process import pipe


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
async def test_log_lines_are_what_was_printed(
    printed: Callable[[bytes], Printed], lines: list[str], data: bytes, expected: list[str]
) -> None:
    """Text is decoded leniently and otherwise unchanged, colours included."""
    await printed(data).end()
    assert lines == expected


@fault(
    "output without a line's end",
    injection="1 MB of it",
    bound="it comes in pieces, in bounded memory",
)
async def test_line_above_the_limit_is_split(
    printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """No line is longer than LINE_LIMIT; the pieces make up the whole, and no character is cut."""
    text = "€" * 350_000
    await printed(text.encode()).end()
    assert "".join(lines) == text
    assert max(map(len, lines)) <= LINE_LIMIT


async def test_burst_arrives_whole(printed: Callable[[bytes], Printed], lines: list[str]) -> None:
    """A process that prints much after a silence loses nothing."""
    expected = [f"line {number}" for number in range(80_000)]
    await printed("\n".join(expected).encode() + b"\n").end()
    assert lines == expected


FLOODS = [b"x" * 99 + b"\n", b"\n", b"no end", bytes(range(256)) * 4, "\x1b[31m€</script>".encode()]


@pytest.mark.parametrize("piece", FLOODS)
async def test_flood_is_dropped_and_counted(
    printed: Callable[[bytes], Printed], lines: list[str], piece: bytes
) -> None:
    """Of 100 MB at most the burst and some seconds' rate are kept; lines say how much was
    dropped."""
    flood = printed(piece * (100_000_000 // len(piece)))
    await flood.end()
    told = [line for line in lines if line.startswith("[predictd] ")]
    assert told
    assert all("MiB of output dropped: more than 1 MiB a second" in line for line in told)
    assert sum(map(len, lines)) < 20 * RATE
    assert max(map(len, lines)) <= LINE_LIMIT


@fault(
    "a flood of output",
    injection="far more than the allowance",
    bound="dropped unread; neither the writer nor others wait",
)
async def test_flood_does_not_stall_its_writer(printed: Callable[[bytes], Printed]) -> None:
    """100 MB are printed in the time that the kernel takes to copy them; the log does not slow
    them."""
    began = time.monotonic()
    await printed(b"x" * 100_000_000).end()
    # At the rate it would take more than a minute; two shared cores take a quarter of a second.
    assert time.monotonic() - began < 10


async def test_lines_after_a_flood_are_kept(
    printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """When a flood is over, a line says by itself what was dropped, and the next lines come."""
    flood = printed(b"x" * 20_000_000 + b"\n")
    await wait_until(lambda: lines and lines[-1].startswith("[predictd] "))
    os.write(flood.write_end, b"at last\n")
    await wait_until(lambda: lines[-1] == "at last")
    await flood.end()


async def test_flood_does_not_delay_another_pipe(
    output: Output, printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """Beside a pipe that is flooded without end, lines and prompts of another pipe are read."""
    read, write = pipe()
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            os.write(write, b"x" * 65536)
        os.close(write)

    dropped: list[str] = []
    output.attach(read, dropped.extend)
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        quiet = printed(b"one\n")
        await wait_until(lambda: sum(map(len, dropped)) > 8_000_000)
        os.write(quiet.write_end, b"two\n")
        await wait_until(lambda: lines == ["one", "two"])
        os.write(quiet.write_end, b"name? ")
        await wait_until(lambda: lines == ["one", "two", "name? "])
        await quiet.end()
    finally:
        stop.set()
        thread.join()


def test_allowance_is_a_burst_and_then_a_rate() -> None:
    """The allowance never grows above the burst; a flood lasts until there is enough for a
    second."""
    allowance = TokenBucket(0.0)
    assert allowance.spend(BURST, 100.0)
    assert not allowance.spend(1, 100.0)
    assert not allowance.is_enough(100.9)
    assert allowance.is_enough(101.1)
    assert allowance.spend(RATE, 101.1)


async def test_prompt_is_shown_while_its_line_is_open(
    printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """Text without a line end is logged as it is when nothing follows for a while."""
    prompt = printed(b"50% done ...")
    await wait_until(lambda: lines)
    assert lines == ["50% done ..."]
    await prompt.end()
    assert lines == ["50% done ..."]


async def test_drain_does_not_wait_for_a_survivor(
    printed: Callable[[bytes], Printed], lines: list[str]
) -> None:
    """A process that keeps the pipe open, even printing, does not delay the end of drain."""
    survivor = printed(b"first words\n")
    await wait_until(lambda: lines)
    await survivor._output.drain(survivor._source)
    with pytest.raises(BrokenPipeError):
        os.write(survivor.write_end, b"this is not read")
    os.close(survivor.write_end)
    assert lines == ["first words"]


async def test_close_reads_what_is_left(lines: list[str]) -> None:
    """close drains and closes the pipes that are still attached."""
    output = Output()
    read, write = pipe()
    output.attach(read, lines.extend)
    os.write(write, b"last")
    output.close()
    with pytest.raises(BrokenPipeError):
        os.write(write, b"unread")
    os.close(write)
