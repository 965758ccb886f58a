"""The metrics of an experiment: a file of lines that its script writes, read at any time.

Nothing in the file is trusted: it may not be a regular file, a line may be cut off, and there may
be very many lines. Of very many values the first are kept, and of the later ones the last of each
key, so that the result of an experiment is always kept. The total size of texts is bounded, since
all that is kept is sent in one response. Of a file that is too large, the begin and the end are
read.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from store import RunMetric

MOST_POINTS = 10_000
MOST_KEYS = 1_000
# Of a line, in bytes; of a key, in characters; of all lines whose value is a text, in bytes.
LONGEST_LINE = 8 * 1024
LONGEST_KEY = 200
MOST_TEXT = 512 * 1024
# Of the begin of the file, and of its end, in bytes.
MOST_BYTES = 8 * 1024 * 1024


class ParsedMetrics(msgspec.Struct, frozen=True):
    """The values in their order, how many values were left out, and, in words, what of the file
    cannot be read."""

    points: list[RunMetric]
    left_out: int
    problem: str = ""


class _Line(msgspec.Struct, frozen=True):
    key: str
    value: str | bool | int | float | None
    time: int


_decoder = msgspec.json.Decoder(_Line)


def read_metrics_file(path: Path) -> ParsedMetrics:
    """What the file says so far. Blocking."""
    try:
        lines, skipped = _lines(path)
    except FileNotFoundError:  # nothing was tracked
        return ParsedMetrics([], 0)
    except OSError as error:
        return ParsedMetrics([], 0, error.strerror or str(error))
    found = truncate(lines)
    return ParsedMetrics(found.points, found.left_out + skipped, found.problem)


def truncate(lines: Iterable[bytes]) -> ParsedMetrics:
    """The values to keep of these lines."""
    points: list[RunMetric] = []
    last: dict[str, RunMetric] = {}
    keys: set[str] = set()
    left_out, unreadable, room = 0, 0, MOST_TEXT
    for line in lines:
        try:
            point = _point(line)
        except (ValueError, RecursionError):  # no JSON, no UTF-8, or other fields
            unreadable, point = unreadable + 1, None
        if point is None or (point.key not in keys and len(keys) >= MOST_KEYS):
            left_out += 1
            continue
        if isinstance(point.value, str):
            if len(line) > room:
                left_out += 1
                continue
            room -= len(line)
        keys.add(point.key)
        if len(points) < MOST_POINTS:
            points.append(point)
        else:
            left_out += point.key in last
            last.pop(point.key, None)  # so that its place is that of its last value
            last[point.key] = point
    problem = f"lines that cannot be read: {unreadable:,}" if unreadable else ""
    return ParsedMetrics([*points, *last.values()], left_out, problem)


def not_kept(tracked: ParsedMetrics) -> str:
    """The log line about metrics that are not kept; "" if all are kept."""
    if tracked.left_out:
        text = f"[predictd] {tracked.left_out:,} tracked values were not kept"
        return f"{text}: {tracked.problem}" if tracked.problem else text
    return f"[predictd] tracked values cannot be read: {tracked.problem}" if tracked.problem else ""


def _point(line: bytes) -> RunMetric | None:
    """None for a value beyond a bound. Raises ValueError or RecursionError."""
    if len(line) > LONGEST_LINE:
        return None
    said = _decoder.decode(line)
    # The store keeps values as JSON, whose integers are bounded there.
    if isinstance(said.value, int) and not -(2**63) <= said.value < 2**64:
        return None
    if not -(2**62) < said.time < 2**62 or len(said.key) > LONGEST_KEY:
        return None
    return RunMetric(key=said.key, value=said.value, time=said.time)


def _lines(path: Path) -> tuple[list[bytes], int]:
    """The complete lines that are read, and how many between them are not. Raises OSError."""
    # A link is not followed, and a pipe without a writer is not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise OSError("it is not a file")
    with open(descriptor, "rb") as file:
        begin = file.read(MOST_BYTES)
        skipped, between = 0, facts.st_size - 2 * MOST_BYTES
        while between > 0 and (block := file.read(min(between, MOST_BYTES))):
            skipped += block.count(b"\n")
            between -= len(block)
        end = file.read(MOST_BYTES)
    if facts.st_size <= 2 * MOST_BYTES:
        return (begin + end).split(b"\n")[:-1], 0  # the last is not complete yet, or empty
    # What was skipped begins and ends within a line.
    first, last = begin.split(b"\n")[:-1], end.split(b"\n")[1:]
    return [*first, *last[:-1]], skipped + bool(last)
