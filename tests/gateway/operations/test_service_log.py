"""The gateway's own log: bounded, written behind, and no reason to wait or to end."""

import logging
import os
import threading
from pathlib import Path

import pytest

from gateway.operations import service_log
from gateway.operations.service_log import ServiceLog
from tests.faults.matrix import fault

logger = logging.getLogger("gateway.told")


def test_lines_come_in_order_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the block all is written, one line for each record."""
    # pytest keeps what is logged, and its workers cannot pass half a surrogate pair on.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    path = tmp_path / "log"
    with path.open("wb") as file, ServiceLog(file.fileno()):
        for number in range(200):
            logger.warning("line %d \ud800", number)
    lines = path.read_text().splitlines()
    assert [line.partition(": ")[2] for line in lines] == [f"line {n} \\ud800" for n in range(200)]
    assert " WARNING gateway.told: " in lines[0]


@fault(
    "a log that is not read",
    injection="3,000 lines into a full pipe",
    bound="nothing waits; a count is told",
)
def test_a_pipe_that_is_not_read_holds_up_nothing() -> None:
    """What is logged while it is full waits, up to a bound; what is over that is counted."""
    reader, writer = os.pipe()
    with ServiceLog(writer, queue_limit=50):
        for number in range(3000):  # some 400 kB, and a pipe holds 64
            logger.warning("line %d %s", number, "x" * 100)
        told = b""
        while b"are dropped here" not in told:
            told += os.read(reader, 65536)
            logger.warning("read again")  # taken as soon as there is room
        drain = threading.Thread(target=lambda: [*iter(lambda: os.read(reader, 65536), b"")])
        drain.start()
    os.close(writer)
    drain.join()
    os.close(reader)
    assert b": line 0 x" in told


def test_the_end_does_not_wait_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that is full to the end costs a moment, and the lines."""
    monkeypatch.setattr(service_log, "LAST_SECONDS", 0.05)
    reader, writer = os.pipe()
    with ServiceLog(writer, queue_limit=5):
        for _ in range(2000):
            logger.warning("x" * 100)
    os.close(reader)  # and lets the thread go


@pytest.mark.parametrize("gone", ["the reader", "the descriptor"])
def test_a_log_without_a_reader_ends_nothing(gone: str) -> None:
    """Lines that cannot be written are lost."""
    reader, writer = os.pipe()
    os.close(reader)
    if gone == "the descriptor":
        os.close(writer)
        writer = 10**6
    with ServiceLog(writer):
        logger.warning("lost")
    if gone == "the reader":
        os.close(writer)
