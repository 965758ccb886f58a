"""What the script of an experiment tracks: a file of lines, read while it runs and at its end.

The file is written by the script, so nothing in it is trusted: it may be no file, a line may be
cut off, and there may be very many lines. Of very many values the first are kept, and of the
later ones the last of each key, so that what an experiment came to is always there. Texts have a
bound in all, since all that is kept is sent in one reply. Of a file that
is larger than one would read, the begin and the end are.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from store import RunMetric

MOST_POINTS = 10_000
MOST_KEYS = 1_000
# Of a line, in bytes; of a key, in characters; of the lines whose value is a text, in all.
LONGEST_LINE = 8 * 1024
LONGEST_KEY = 200
MOST_TEXT = 512 * 1024
# Of the begin of the file, and of its end.
MOST_BYTES = 8 * 1024 * 1024


class ParsedMetrics(msgspec.Struct, frozen=True):
    """The values, in their order; how many there were beside them; and what of the file cannot be
    read, in words."""

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
        lines, passed_over = _lines(path)
    except FileNotFoundError:  # nothing was tracked
        return ParsedMetrics([], 0)
    except OSError as error:
        return ParsedMetrics([], 0, error.strerror or str(error))
    found = truncate(lines)
    return ParsedMetrics(found.points, found.left_out + passed_over, found.problem)


def truncate(lines: Iterable[bytes]) -> ParsedMetrics:
    """The values to keep of these lines."""
    points: list[RunMetric] = []
    last: dict[str, RunMetric] = {}
    keys: set[str] = set()
    left_out, unreadable, room = 0, 0, MOST_TEXT
    for line in lines:
        try:
            point = _point(line)
        except (ValueError, RecursionError):  # no JSON, no UTF-8, or no line of ours
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
            last.pop(point.key, None)  # so that it stands where it was tracked last
            last[point.key] = point
    problem = f"lines that cannot be read: {unreadable:,}" if unreadable else ""
    return ParsedMetrics([*points, *last.values()], left_out, problem)


def not_kept(tracked: ParsedMetrics) -> str:
    """The line of an experiment's log about what is not kept; "" where all is."""
    if tracked.left_out:
        told = f"[predictd] {tracked.left_out:,} tracked values were not kept"
        return f"{told}: {tracked.problem}" if tracked.problem else told
    return (
        f"[predictd] what it tracked cannot be read: {tracked.problem}" if tracked.problem else ""
    )


def _point(line: bytes) -> RunMetric | None:
    """None for what is beyond a bound. Raises ValueError or RecursionError."""
    if len(line) > LONGEST_LINE:
        return None
    said = _decoder.decode(line)
    # The store keeps values as JSON, whose integers have a bound there.
    if isinstance(said.value, int) and not -(2**63) <= said.value < 2**64:
        return None
    if not -(2**62) < said.time < 2**62 or len(said.key) > LONGEST_KEY:
        return None
    return RunMetric(key=said.key, value=said.value, time=said.time)


def _lines(path: Path) -> tuple[list[bytes], int]:
    """The whole lines of a file that are read, and how many between them are not. Raises
    OSError."""
    # Neither through a link, nor waiting for somebody to write into a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise OSError("it is not a file")
    with open(descriptor, "rb") as file:
        begin = file.read(MOST_BYTES)
        passed_over, between = 0, facts.st_size - 2 * MOST_BYTES
        while between > 0 and (block := file.read(min(between, MOST_BYTES))):
            passed_over += block.count(b"\n")
            between -= len(block)
        end = file.read(MOST_BYTES)
    if facts.st_size <= 2 * MOST_BYTES:
        return (begin + end).split(b"\n")[:-1], 0  # the last is not whole yet, or empty
    # What was passed over begins and ends within a line.
    first, last = begin.split(b"\n")[:-1], end.split(b"\n")[1:]
    return [*first, *last[:-1]], passed_over + bool(last)
