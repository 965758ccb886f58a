"""Logs: what models and scripts printed, kept.

A Log is a size-rotated file with a tail in memory. Its lines read `<time> <stream> <text>`; it
outlives the process that filled it. Whoever follows it is told from any thread that there is more.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from heapq import merge
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import trio

_TAIL = 200
# Read at once: 2,000 lines at most, since each has its time before it.
_BLOCK = 64 * 1024
_LINE_END = 10


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a log. `at` is UTC, `2026-11-21T02:35:00.123Z`.

    The garbage collector need not look at lines: a hundred thousand of them took it 100 ms."""

    at: str
    stream: str
    text: str

    @classmethod
    def parse(cls, text: str) -> "Line":
        at, _, rest = text.partition(" ")
        stream, _, words = rest.partition(" ")
        return cls(at, stream, words)

    def __str__(self) -> str:
        return f"{self.at} {self.stream} {self.text}"


class Log:
    """A file of lines, rotated once past `most_bytes`; at most two such files are kept.

    `write`, `tail` and `close` are for any thread, `follower` is for Trio. A disk that refuses a
    line costs that line, counted in `lost`, and never the process that printed it; when it takes
    lines again, one says how many were lost.
    """

    def __init__(self, path: Path, *, most_bytes: int = 8 * 1024 * 1024) -> None:
        self.path = path
        self.lost = 0
        self.closed = False
        self._most_bytes = most_bytes
        # Lines that the disk refused and nobody reading it has been told of, and why; whether the
        # file ends within a line.
        self._unsaid = 0
        self._reason = ""
        self._midline = False
        self._lock = threading.Lock()
        self._tail: deque[Line] = deque(maxlen=_TAIL)
        self._file: BinaryIO | None = None
        self._bells: set[Callable[[], None]] = set()

    def write(self, line: str, stream: str = "stdout") -> None:
        """Adds one line, or several where `line` has line ends. After the close: nothing."""
        self.write_lines(line.split("\n"), stream)

    def write_lines(self, texts: Iterable[str], stream: str = "stdout") -> None:
        """Adds lines in one go; see `write`."""
        lines = list(texts)
        if not lines:
            return
        at = _now()
        begin, between = f"{at} {stream} ", f"\n{at} {stream} "
        # No step of ours for each line: a model may print ten thousands a second.
        data = f"{begin}{between.join(lines)}\n".encode("utf-8", "backslashreplace")
        with self._lock:
            if self.closed:
                return
            self._tail.extend([Line(at, stream, text) for text in lines[-_TAIL:]])
            try:
                self._append(data)
            except OSError as error:
                self._lose(len(lines), error)
            self._ring()

    def _lose(self, count: int, error: OSError) -> None:
        self.lost += count
        self._unsaid += count
        self._reason = error.strerror or str(error)

    def _say_lost(self) -> bytes:
        """What is written before the next line once the disk takes lines again."""
        end = b"\n" if self._midline else b""
        if not self._unsaid:
            return end
        text = f"[predictd] {self._unsaid:,} lines were lost: {self._reason}"
        return end + f"{Line(_now(), 'stderr', text)}\n".encode()

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - kept until the close
        elif self._file.tell() > self._most_bytes:
            self._file.close()
            self._file = None
            self._midline = False
            self.path.replace(_older(self.path))
            self._append(data)
            return
        data = self._say_lost() + data
        # A disk that is nearly full takes a part, and says so only to the next write.
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            self._midline = data[len(data) - len(rest) + written - 1] != _LINE_END
            rest = rest[written:]
        self._unsaid = 0

    def _ring(self) -> None:
        for bell in self._bells:
            bell()

    def tail(self, count: int) -> list[Line]:
        """The last `count` lines, at most 200, written through this object."""
        with self._lock:
            return list(self._tail)[-count:] if count else []

    def close(self) -> None:
        """Ends the log: followers come to their end, later writes are dropped."""
        with self._lock:
            self.closed = True
            if self._file is not None:
                self._file.close()
                self._file = None
            self._ring()

    def remove(self) -> None:
        """Closes the log and removes its files. Blocking."""
        self.close()
        self.path.unlink(missing_ok=True)
        _older(self.path).unlink(missing_ok=True)

    def follower(self, last: int | None = None) -> "Follower":
        """Reads from the first line on, then waits for more. Use it in a `with`.

        With `last`, reads from so many lines back, at most 200, of what this object has written.
        """
        return Follower(self, last)


class Follower:
    """Somebody who reads a log while it grows. One that is slower than two files misses some."""

    def __init__(self, log: Log, last: int | None) -> None:
        self._log = log
        self._reader = _Reader(log.path)
        self._first: list[Line] = []
        if last is not None:
            with log._lock:  # so that no line is both among the last ones and still to come
                self._first = list(log._tail)[-last:] if last else []
                self._reader.skip()
        self._more = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def __enter__(self) -> Self:
        with self._log._lock:
            self._log._bells.add(self._ring_from_any_thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._log._lock:
            self._log._bells.discard(self._ring_from_any_thread)
        self._reader.close()

    async def lines(self) -> list[Line]:
        """The lines since the last call, waiting until there are some; empty at the log's end."""
        first, self._first = self._first, []
        if first:
            return first
        while True:
            more, closed = self._more, self._log.closed
            # Also taken apart in the thread: lines may be empty, so there are many.
            lines = await trio.to_thread.run_sync(self._reader.read)
            if lines or closed:
                return lines
            await more.wait()

    def _ring_from_any_thread(self) -> None:
        self._token.run_sync_soon(self._ring, idempotent=True)

    def _ring(self) -> None:
        self._more.set()
        self._more = trio.Event()


class _Reader:
    """Reads a log's files in order, across rotations. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open_oldest(path)
        self._begun = self._file is not None
        self._rest = b""

    def skip(self) -> None:
        """Goes to the end of what is there."""
        self.close()
        self._file = _open(self._path)
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)
        self._begun = True

    def read(self) -> list[Line]:
        """The whole lines that are there and were not read before, about _BLOCK of them at most."""
        while True:
            if self._file is None:
                self._file = (_open if self._begun else _open_oldest)(self._path)
                if self._file is None:
                    return []
                self._begun = True
            # Look first, then read: a file that was rotated away gets nothing more after that.
            current = self._is_current()
            block = self._file.read(_BLOCK)
            whole, _, self._rest = (self._rest + block).rpartition(b"\n")
            if whole:
                return list(map(Line.parse, whole.decode("utf-8", "replace").split("\n")))
            if len(block) == _BLOCK:
                continue  # within a long line
            if current:
                return []
            self.close()

    def _is_current(self) -> bool:
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def blocks_of(path: Path) -> Iterator[list[Line]]:
    """All lines that a log's files hold, oldest first, about _BLOCK at a time. Blocking."""
    reader = _Reader(path)
    try:
        while lines := reader.read():
            yield lines
    finally:
        reader.close()


def read_log(path: Path) -> list[Line]:
    """The same at once."""
    return [line for lines in blocks_of(path) for line in lines]


def in_order(lines: Iterable[tuple[str, Line]]) -> list[tuple[str, Line]]:
    """The lines of several logs, each with its log's name, as one log: by time.

    What one log has keeps its order, also where the clock was set back in between. The logs are
    merged one line after the other: sorting all of them is one call, which other threads wait for.
    """
    dated: dict[str, list[tuple[str, str, Line]]] = {}
    for name, line in lines:
        log = dated.setdefault(name, [])
        log.append((max(log[-1][0], line.at) if log else line.at, name, line))
    return [(name, line) for _, name, line in merge(*dated.values(), key=itemgetter(0))]


def _open_oldest(path: Path) -> BinaryIO | None:
    """The file that holds a log's first line, if there is any yet."""
    older = _open(_older(path))
    if older is not None:
        return older
    current = _open(path)
    if current is not None and _older(path).exists():  # rotated while we looked
        current.close()
        return _open(_older(path))
    return current


def _open(path: Path) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
