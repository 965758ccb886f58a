"""The last lines of a model's logs, filtered and merged by time."""

from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.request_lines import RequestLines
from workers import Line
from workers.log import blocks_of, in_order

# One JSON object for each line.
LINES = "application/x-ndjson"


class LogFilter(NamedTuple):
    """Which lines: `stream`, `since` (a time as lines have it), `text` (a part of a line, in either
    case) and `request` may be ""."""

    tail: int
    stream: str = ""
    since: str = ""
    text: str = ""
    request: str = ""

    def fits(self, line: Line) -> bool:
        """Whether it is one of the lines, of any request."""
        if self.stream not in ("", line.stream) or line.at < self.since:
            return False
        return not self.text or self.text.casefold() in line.text.casefold()


class LoggedLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A line of a replica. `request_id` is that of the failed request that it belongs to."""

    replica: str
    at: str
    stream: str
    text: str
    request_id: str = ""


def last_lines(paths: Iterable[Path], wanted: LogFilter) -> list[LoggedLine]:
    """The last lines of several logs, merged. Blocking. It keeps at most twice `tail` lines in
    memory: freeing more of them at once would block other threads."""
    last: list[tuple[str, Line]] = []
    for path in paths:
        kept: deque[Line] = deque(maxlen=wanted.tail)
        reader = RequestLines()
        for block in blocks_of(path):
            kept += [line for line in block if _is_wanted(line, wanted, reader)]
        merged = in_order([*last, *((path.stem, line) for line in kept)])
        last = merged[-wanted.tail :] if wanted.tail else []
    readers = defaultdict[str, RequestLines](RequestLines)
    return [
        LoggedLine(replica, line.at, line.stream, line.text, readers[replica].request_of(line))
        for replica, line in last
    ]


def _is_wanted(line: Line, wanted: LogFilter, reader: RequestLines) -> bool:
    if wanted.request and reader.request_of(line) != wanted.request:
        return False
    return wanted.fits(line)


def as_text(lines: list[LoggedLine]) -> bytes:
    """One line each; the replica is named where there are several."""
    several = len({each.replica for each in lines}) > 1
    return "".join(
        [
            f"{each.replica + ' ' if several else ''}{each.at} {each.stream} {each.text}\n"
            for each in lines
        ]
    ).encode()


def as_json(lines: list[LoggedLine]) -> bytes:
    """One JSON object for each line."""
    return b"".join([msgspec.json.encode(each) + b"\n" for each in lines])
