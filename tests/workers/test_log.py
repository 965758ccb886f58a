"""What was printed is kept, bounded, and told to who follows; a disk that refuses stops nobody."""

import gc
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from workers.log import Line, Log, in_order, read_log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "logs" / "sample.log")
    yield log
    log.close()


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


def test_a_full_disk_heals(tmp_path: Path) -> None:
    """When the disk takes lines again one tells how many were lost, and no line is torn: not
    even where the last write was cut short."""
    log = Log(tmp_path / "log")
    log.write("before")
    size = (tmp_path / "log").stat().st_size
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        log.write("cut short")
        log.write("lost\nas well")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    log.write("after")
    assert log.lost == 3
    first, torn, told, last = read_log(log.path)
    assert first.text == "before"
    assert len(str(torn)) <= 12
    assert told.text == "[predictd] 3 lines were lost: File too large"
    assert last.text == "after"
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


async def test_a_follower_takes_little_at_once(tmp_path: Path) -> None:
    """A mebibyte of empty lines was 32,000 lines in one turn of the loop, and in memory for each
    who follows. A line that is longer than a block comes whole."""
    log = Log(tmp_path / "a.log")
    long = "x" * 300_000
    log.write_lines(["", long, *[""] * 100_000, "last"])
    log.close()
    batches = []
    await trio.lowlevel.checkpoint()
    with log.follower() as follower:
        began = time.thread_time()
        while lines := await follower.lines():
            batches.append(lines)
        used = time.thread_time() - began
    assert max(map(len, batches)) <= 2100
    texts = [line.text for lines in batches for line in lines]
    assert texts == ["", long, *[""] * 100_000, "last"]
    # To take these apart costs 40 ms; the loop only waits for a thread.
    assert used / len(batches) < 0.005


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


def test_the_collector_does_not_look_at_lines() -> None:
    """It held up all threads for 100 ms where the logs of a model were read."""
    line = Line("2026-11-21T02:35:00.123Z", "stdout", "x" * 3)
    assert not gc.is_tracked(line)


def test_several_logs_as_one() -> None:
    """Lines go by time, but never against the order of their own log, though the clock was set
    back."""

    def lines(name: str, *hours: int) -> list[tuple[str, Line]]:
        return [
            (name, Line(f"2026-11-21T{hour:02}:00:00.000Z", "stdout", str(number)))
            for number, hour in enumerate(hours)
        ]

    merged = in_order([*lines("a", 10, 12, 11, 13), *lines("b", 9, 11, 12)])
    assert [f"{name}{line.text}" for name, line in merged] == [
        "b0",
        "a0",
        "b1",
        "a1",
        "a2",
        "b2",
        "a3",
    ]
