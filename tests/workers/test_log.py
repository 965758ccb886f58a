"""Logs are bounded and reported to their readers; a failing disk stops no writer."""

import gc
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workers.log as log_module
from tests.faults.matrix import fault
from workers.log import Line, Log, in_order, read_log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "logs" / "sample.log")
    yield log
    log.close()


def test_line_is_parsed_as_written() -> None:
    """A parsed line is the written one, with any blanks in its text."""
    line = Line("2026-11-21T02:35:00.123Z", "stderr", "  two  blanks ")
    assert Line.parse(str(line)) == line


def test_log_has_the_written_lines_in_order(log: Log) -> None:
    """Lines are in the file in order, with time and stream; several in one write are several
    lines."""
    log.write("one\ntwo")
    log.write("three", "stderr")
    read = read_log(log.path)
    assert [(line.stream, line.text) for line in read] == [
        ("stdout", "one"), ("stdout", "two"), ("stderr", "three"),
    ]  # fmt: skip
    assert log.tail(2) == read[1:]
    assert log.tail(0) == []


def test_lone_surrogate_is_logged_escaped(log: Log) -> None:
    """Text that no encoding has costs no line."""
    log.write("a\ud800b")
    assert read_log(log.path)[0].text == "a\\ud800b"
    assert log.lost == 0


def test_log_is_bounded_to_two_files(tmp_path: Path) -> None:
    """A log has two files of at most most_bytes (and the line that passes the bound), with the
    newest lines."""
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


def test_log_continues_in_its_file(tmp_path: Path) -> None:
    """A log outlives the object that wrote it."""
    for text in ("before", "after"):
        log = Log(tmp_path / "log")
        log.write(text)
        log.close()
        log.write("after the close")
    assert [line.text for line in read_log(tmp_path / "log")] == ["before", "after"]


@fault(
    "the disk of a log is full",
    injection="writes fail with ENOSPC",
    bound="lines are lost, nothing else",
)
@pytest.mark.parametrize("path", ["/dev/full", "/proc/no/such/folder/log"])
def test_failed_log_write_loses_only_lines(path: str) -> None:
    """Lost lines are counted, the tail still has them, and no writer gets an error."""
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


def test_removed_log_has_no_files(tmp_path: Path) -> None:
    """remove deletes the older file too, and accepts that there is none."""
    log = Log(tmp_path / "log", most_bytes=10)
    for _ in range(5):
        log.write("x" * 20)
    log.remove()
    log.remove()
    assert list(tmp_path.iterdir()) == []


# Readers.


def texts_from(log: Log, position: int = 0) -> tuple[list[str], int]:
    """All lines from a position on, and where they end."""
    texts: list[str] = []
    while log.has_more(position):
        block = log.read(position)
        assert block.end > position or not block.data
        texts += [line.text for line in block.lines]
        position = block.end
    return texts, position


def test_reader_gets_every_line_once_in_order(tmp_path: Path) -> None:
    """A reader gets the lines before and after it came once and in order, across a rotation, until
    the log is closed."""
    log = Log(tmp_path / "log", most_bytes=200_000)
    expected = [f"line {number}" for number in range(6_000)]
    for text in expected[:1_000]:
        log.write(text)
    first, position = texts_from(log)
    for text in expected[1_000:]:
        log.write(text)
    log.close()
    rest, end = texts_from(log, position)
    assert (tmp_path / "log.1").exists()
    assert first + rest == expected
    assert not log.has_more(end)
    assert log.read(end).data == b""


def test_reader_reads_in_small_blocks(tmp_path: Path) -> None:
    """A mebibyte of empty lines was 32,000 lines in one turn of the loop, and in memory for each
    reader. A line that is longer than a block comes whole."""
    log = Log(tmp_path / "a.log")
    long = "x" * 300_000
    log.write_lines(["", long, *[""] * 100_000, "last"])
    log.close()
    blocks, position = [], 0
    while log.has_more(position):
        blocks.append(block := log.read(position))
        position = block.end
    assert max(len(block.lines) for block in blocks) <= 2100
    texts = [line.text for block in blocks for line in block.lines]
    assert texts == ["", long, *[""] * 100_000, "last"]


def test_reader_of_the_last_lines_continues_behind_them(log: Log) -> None:
    """A reader that begins with the last lines gets those that follow: none twice, none missing."""
    log.write_lines(["one", "two", "three"])
    lines, position = log.latest(2)
    log.write("four")
    assert [line.text for line in lines] == ["two", "three"]
    assert texts_from(log, position)[0] == ["four"]
    assert log.latest(0) == ([], log.latest(1)[1])


def test_log_of_an_earlier_writer_is_read(tmp_path: Path) -> None:
    """Positions count the lines of earlier writers, in both files."""
    earlier = Log(tmp_path / "log", most_bytes=100)
    for number in range(9):
        earlier.write(f"line {number}")
    earlier.close()
    kept = [line.text for line in read_log(tmp_path / "log")]
    log = Log(tmp_path / "log")
    assert texts_from(log)[0] == kept
    log.write("more")
    assert texts_from(log)[0] == [*kept, "more"]
    log.close()


def test_subscriber_is_notified_of_writes_and_close(log: Log) -> None:
    """A subscriber is notified in the thread that writes."""
    rung: list[bool] = []

    def subscriber() -> None:
        rung.append(log.closed)

    log.subscribe(subscriber)
    log.write_lines(["one", "two"])
    log.close()
    log.unsubscribe(subscriber)
    log.close()
    assert rung == [False, True]


def test_reader_of_a_removed_log_ends(log: Log) -> None:
    """A reader of a log whose files are removed reaches the end, and does not retry endlessly."""
    log.write_lines(["one", "two"])
    log.remove()
    assert log.has_more(0)
    assert texts_from(log)[0] == []


# Rotations.


@fault(
    "a rotation while a log is read",
    injection="files are renamed between look and read",
    bound="no line lost",
)
def test_rotation_before_a_read_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are written, and files rotated, after a reader knows their positions and before it
    reads: it gets each line once and in order."""
    log = Log(tmp_path / "log", most_bytes=2_000)
    written = 0

    def write() -> None:
        nonlocal written
        for _ in range(25):  # a rotation needs 38
            log.write(f"{written:030}")
            written += 1

    read = log_module._whole_lines

    def write_and_read(file: BinaryIO, most: int) -> bytes:
        write()
        return read(file, most)

    monkeypatch.setattr(log_module, "_whole_lines", write_and_read)
    write()
    got, position = [], 0
    for _ in range(30):
        block = log.read(position)
        assert block.begin == position
        got += [line.text for line in block.lines]
        position = block.end
    expected = [f"{number:030}" for number in range(written)]
    log.close()
    rest, _ = texts_from(log, position)
    assert (tmp_path / "log.1").exists()
    assert got + rest == expected


def test_writer_waits_for_a_reader_that_opens_a_file(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice of the file that has a position and its opening, no other thread can
    rotate it."""
    log.write("one")
    opened, tried = log_module._open, []

    def open_it(path: Path) -> BinaryIO | None:
        tried.append(log._lock.acquire(blocking=False))
        return opened(path)

    monkeypatch.setattr(log_module, "_open", open_it)
    assert [line.text for line in log.read(0).lines] == ["one"]
    assert tried == [False]


@pytest.mark.parametrize("lines", [1, 25, 50, 100])
def test_rotation_while_files_are_opened_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """A reader that opens a log's files by name gets all lines of one moment, in order, though
    files are rotated, once or several times, between two openings."""
    log = Log(tmp_path / "log", most_bytes=2_000)
    written = opens = 0
    opened = log_module._open

    def write() -> None:
        nonlocal written
        for _ in range(lines):
            log.write(f"{written:030}")
            written += 1

    def open_and_write(path: Path) -> BinaryIO | None:
        nonlocal opens
        opens += 1
        file = opened(path)
        if opens < 4:
            write()
        return file

    write()
    monkeypatch.setattr(log_module, "_open", open_and_write)
    got = [int(line.text) for line in read_log(log.path)]
    assert got == list(range(got[0], got[0] + len(got)))
    assert got[-1] >= lines - 1
    log.close()


@given(
    steps=st.lists(st.sampled_from(["write", "write many", "read", "cut", "reopen"]), max_size=60),
    most_bytes=st.integers(50, 400),
)
@settings(deadline=None, max_examples=60)
def test_no_line_is_lost_or_doubled(steps: list[str], most_bytes: int) -> None:
    """With any rotations and truncations by others between reads, lines come in order and once;
    missing lines are in gaps that the reader is told."""
    with TemporaryDirectory() as folder:
        log = Log(Path(folder) / "log", most_bytes=most_bytes)
        got: list[str] = []
        number = position = gaps = 0

        def read() -> None:
            nonlocal position, gaps
            while log.has_more(position):
                block = log.read(position)
                gaps += block.begin - position
                got.extend(line.text for line in block.lines if line.text.isdecimal())
                assert block.begin >= position
                assert block.end >= block.begin
                position = block.end

        for step in steps:
            if step.startswith("write"):
                for _ in range(12 if "many" in step else 1):
                    log.write(str(number))
                    number += 1
            elif step == "read":
                read()
            elif step == "cut":  # as a program that rotates logs by copying them may do
                if log.path.exists():
                    read()
                    os.truncate(log.path, 0)
            elif step == "reopen":
                read()
                log.close()
                log = Log(log.path, most_bytes=most_bytes)
                log.read(0)
                position = log.latest(0)[1]
        log.close()
        read()
        assert got == sorted(set(got), key=int)
        if not gaps:
            assert got == [str(each) for each in range(number)]


def test_garbage_collector_does_not_visit_lines() -> None:
    """The collector stopped all threads for 100 ms where the logs of a model were read."""
    line = Line("2026-11-21T02:35:00.123Z", "stdout", "x" * 3)
    assert not gc.is_tracked(line)


def test_merged_logs_are_ordered_by_time() -> None:
    """Lines are ordered by time, but never against the order of their own log, even if the clock
    was set back."""

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


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_log_replaced_by_another_kind_of_file_loses_only_lines(tmp_path: Path, kind: str) -> None:
    """Lines are lost, and neither a writer nor a reader waits for the other end of a pipe."""
    path = tmp_path / "log"
    (os.mkfifo if kind == "pipe" else os.mkdir)(path)
    log = Log(path)
    log.write("line")
    assert (log.lost, [line.text for line in log.tail(1)]) == (1, ["line"])
    with pytest.raises(OSError, match="log"):
        read_log(path)
    log.close()
