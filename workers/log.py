"""Logs: what models and scripts printed, kept.

A Log is a size-rotated file with a tail in memory. Its lines read `<time> <stream> <text>`; it
outlives the process that filled it. A reader has a position in it, reads from there, and is
notified when there is more: what it has not read is in the files, not in memory.
"""

import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from heapq import merge
from io import BufferedReader, FileIO
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

_TAIL = 200
# Read at once: 2,000 lines at most, since each has its time before it.
_BLOCK = 64 * 1024


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


class Block(NamedTuple):
    """Whole lines of a log that lie from position `begin` to `end`, with their line ends."""

    begin: int
    end: int
    data: bytes

    @property
    def lines(self) -> list[Line]:
        return _parsed(self.data)


class Log:
    """A file of lines, rotated once past `most_bytes`; at most two such files are kept.

    A position in it counts all bytes that were ever written, so that it stays valid over rotations.
    Where it lies is decided under the lock under which files are rotated (law: a rotation between
    look and read loses no line).

    All of it is for any thread. A disk that refuses a line costs that line, counted in `lost`, and
    never the process that printed it; when it takes lines again, one says how many were lost.
    """

    def __init__(self, path: Path, *, most_bytes: int = 8 * 1024 * 1024) -> None:
        self.path = path
        self.lost = 0
        self.closed = False
        self._most_bytes = most_bytes
        # Lines that the disk refused since the last report of lost lines, and why.
        self._unreported = 0
        self._reason = ""
        self._lock = threading.Lock()
        self._tail: deque[Line] = deque(maxlen=_TAIL)
        self._file: FileIO | None = None
        self._subscribers: set[Callable[[], None]] = set()
        # Positions: where the older file begins, where the current one does, the end of the last
        # whole line, and the end. None before the files were looked at.
        self._older_at = self._begin = self._whole = 0
        self._end: int | None = None

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
            self._notify()

    def _lose(self, count: int, error: OSError) -> None:
        self.lost += count
        self._unreported += count
        self._reason = error.strerror or str(error)

    def _lost_line(self, end: int) -> bytes:
        """What is written before the next line once the disk takes lines again."""
        line_end = b"\n" if self._whole < end else b""
        if not self._unreported:
            return line_end
        text = f"[predictd] {self._unreported:,} lines were lost: {self._reason}"
        return line_end + f"{Line(_now(), 'stderr', text)}\n".encode()

    def _append(self, data: bytes) -> None:
        end = self._look()
        if self._file is not None and self._file.tell() > self._most_bytes:
            self._file.close()
            self._file = None
            self.path.replace(_older(self.path))
            self._older_at, self._begin, self._whole = self._begin, end, end
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open_to_append(self.path)
        data = self._lost_line(end) + data
        done = 0
        # A disk that is nearly full takes a part, and says so only to the next write.
        while done < len(data):
            written = self._file.write(memoryview(data)[done:])
            end = self._end = self._added(end, written, self._file.tell())
            done += written
            if last := data.rfind(b"\n", 0, done) + 1:
                self._whole = end - (done - last)
        self._unreported = 0

    def _added(self, end: int, written: int, size: int) -> int:
        """The new end after a write, when the file has this size. A file that another program has
        shortened meanwhile lacks the bytes at its beginning."""
        if size < end + written - self._begin:
            self._begin = end + written - size
            return end + written
        return self._begin + size

    def _look(self) -> int:
        """The end; looks where the files begin and end, the first time."""
        if self._end is None:
            self._begin = _size(_older(self.path))
            self._end = self._whole = self._begin + _size(self.path)
        return self._end

    def _notify(self) -> None:
        for subscriber in self._subscribers:
            subscriber()

    def tail(self, count: int) -> list[Line]:
        """The last `count` lines, at most 200, written through this object. Does not block."""
        with self._lock:
            return list(self._tail)[-count:] if count else []

    def close(self) -> None:
        """Ends the log: readers come to their end, later writes are dropped."""
        with self._lock:
            self.closed = True
            if self._file is not None:
                self._file.close()
                self._file = None
            self._notify()

    def remove(self) -> None:
        """Closes the log and removes its files. Blocking."""
        self.close()
        self.path.unlink(missing_ok=True)
        _older(self.path).unlink(missing_ok=True)

    # For those who read it while it grows.

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Calls `subscriber` after each write and at the close, in any thread and under the lock,
        until `unsubscribe`."""
        with self._lock:
            self._subscribers.add(subscriber)

    def unsubscribe(self, subscriber: Callable[[], None]) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)

    def has_more(self, position: int) -> bool:
        """Whether a read from there gives lines, or was never tried. Does not block."""
        return self._end is None or position < (self._end if self.closed else self._whole)

    def latest(self, count: int) -> tuple[list[Line], int]:
        """The last lines as `tail` gives them, and the position behind them. Blocking."""
        with self._lock:
            self._look()
            return list(self._tail)[-count:] if count else [], self._whole

    def read(self, position: int) -> Block:
        """The whole lines from there on, about _BLOCK of them at most; none at the end. It begins
        later than asked where what lay there is gone. Blocking."""
        with self._lock:
            end = self._look()
            end = end if self.closed else self._whole
            begin = min(max(position, self._older_at), end)
            path, first = self.path, self._begin
            if begin < first:
                path, first, end = _older(path), self._older_at, first
            if begin == end or (file := _open(path)) is None:
                return Block(end, end, b"")
        # From here on a rotation gives the file another name, or none.
        with file:
            file.seek(begin - first)
            data = _whole_lines(file, end - begin)
        return Block(begin, begin + len(data), data) if data else Block(end, end, b"")


def _whole_lines(file: BinaryIO, most: int) -> bytes:
    """About _BLOCK bytes, at most `most`, that end with a line; all `most` end one anyhow."""
    data = b""
    while len(data) < most and (block := file.read(min(_BLOCK, most - len(data)))):
        data += block
        if len(data) < most and (whole := data.rfind(b"\n") + 1):
            return data[:whole]
    return data


def _parsed(data: bytes) -> list[Line]:
    text = data.decode("utf-8", "replace").removesuffix("\n")
    return list(map(Line.parse, text.split("\n"))) if data else []


def blocks_of(path: Path) -> Iterator[list[Line]]:
    """All lines that a log's files hold now, oldest first, about _BLOCK at a time. Blocking."""
    for file in _files_of(path):
        with file:
            size = os.fstat(file.fileno()).st_size
            while data := _whole_lines(file, size):
                size -= len(data)
                yield _parsed(data)


def _files_of(path: Path) -> list[BinaryIO]:
    """A log's files, oldest first. The newer is opened first: when a rotation comes in between, it
    is the older one by then, and holds all up to this moment. After two it is neither."""
    while True:
        newer, older = _open(path), _open(_older(path))
        files = [file for file in (older, newer) if file is not None]
        if newer is None or _is_at(newer, path):
            return files
        if older is not None and os.path.sameopenfile(newer.fileno(), older.fileno()):
            older.close()
            return [newer]
        if _is_at(newer, _older(path)):
            return files
        for file in files:
            file.close()


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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


def _open(path: Path) -> BinaryIO | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    _check_regular(descriptor, path)
    return BufferedReader(FileIO(descriptor, "rb"))


def _open_to_append(path: Path) -> FileIO:
    """A line is often written on the loop, so this never waits for the reader of a pipe."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    _check_regular(descriptor, path)
    return FileIO(descriptor, "ab")


def _check_regular(descriptor: int, path: Path) -> None:
    """Raises OSError, and closes what is open, where the path is not a regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
