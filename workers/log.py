"""Logs: they keep what models and scripts print.

A Log is a size-rotated file with a tail in memory. Its lines are `<time> <stream> <text>`. It
outlives the process that fills it. A reader has a position in it, reads from there, and is notified
when there is more. Unread lines stay in the files, not in memory.
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
# Bytes of one read: 2,000 lines at most, since each begins with its time.
_BLOCK = 64 * 1024


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a log. `at` is UTC, `2026-11-21T02:35:00.123Z`.

    The garbage collector does not track lines: a hundred thousand of them took it 100 ms."""

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
    """The whole lines of a log from position `begin` to `end`, with their line ends."""

    begin: int
    end: int
    data: bytes

    @property
    def lines(self) -> list[Line]:
        return _parsed(self.data)


class Log:
    """A file of lines, rotated once past `most_bytes`; at most two such files are kept.

    A position counts all bytes that were ever written, so it stays valid over rotations. The lock
    that guards rotations also guards finding the file of a position (law: a rotation between look
    and read loses no line).

    All methods are for any thread. If the disk refuses a line, that line is lost and counted in
    `lost`; the process that printed it continues. When the disk takes lines again, a line in the
    log says how many were lost.
    """

    def __init__(self, path: Path, *, most_bytes: int = 8 * 1024 * 1024) -> None:
        self.path = path
        self.lost = 0
        # Gets the same lines, if set.
        self.copied_to: Log | None = None
        self.closed = False
        self._most_bytes = most_bytes
        # Lines that the disk refused since the last report of lost lines, and why.
        self._unreported = 0
        self._reason = ""
        self._lock = threading.Lock()
        self._tail: deque[Line] = deque(maxlen=_TAIL)
        self._file: FileIO | None = None
        self._subscribers: set[Callable[[], None]] = set()
        # Positions: the beginning of the older file and of the current one, the end of the last
        # whole line, and the end, which is None before the first look at the files.
        self._older_at = self._begin = self._whole = 0
        self._end: int | None = None

    def write(self, line: str, stream: str = "stdout") -> None:
        """Adds one line, or several where `line` has line ends; nothing after the close."""
        self.write_lines(line.split("\n"), stream)

    def write_lines(self, texts: Iterable[str], stream: str = "stdout") -> None:
        """Adds several lines in one write; see `write`."""
        lines = list(texts)
        if not lines:
            return
        at = _now()
        begin, between = f"{at} {stream} ", f"\n{at} {stream} "
        # No Python step for each line: a model may print tens of thousands a second.
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
        if (copy := self.copied_to) is not None:
            copy.write_lines(lines, stream)

    def _lose(self, count: int, error: OSError) -> None:
        self.lost += count
        self._unreported += count
        self._reason = error.strerror or str(error)

    def _lost_line(self, end: int) -> bytes:
        """What to write before the next line, once the disk takes lines again."""
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
        # A nearly full disk takes a part, and gives the error only at the next write.
        while done < len(data):
            written = self._file.write(memoryview(data)[done:])
            end = self._end = self._added(end, written, self._file.tell())
            done += written
            if last := data.rfind(b"\n", 0, done) + 1:
                self._whole = end - (done - last)
        self._unreported = 0

    def _added(self, end: int, written: int, size: int) -> int:
        """The new end after a write that left a file of this size. If another program shortened
        the file meanwhile, the missing bytes count as those at its beginning."""
        if size < end + written - self._begin:
            self._begin = end + written - size
            return end + written
        return self._begin + size

    def _look(self) -> int:
        """The end. The first call reads the sizes of the files."""
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
        """Ends the log: readers reach its end, later writes are dropped."""
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

    # For readers while it grows.

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Calls `subscriber` after each write and at the close, in any thread and under the lock,
        until `unsubscribe`."""
        with self._lock:
            self._subscribers.add(subscriber)

    def unsubscribe(self, subscriber: Callable[[], None]) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)

    def has_more(self, position: int) -> bool:
        """Whether a read at `position` gives lines, or was never tried. Does not block."""
        return self._end is None or position < (self._end if self.closed else self._whole)

    def latest(self, count: int) -> tuple[list[Line], int]:
        """The last lines, as from `tail`, and the position after them. Blocking."""
        with self._lock:
            self._look()
            return list(self._tail)[-count:] if count else [], self._whole

    def read(self, position: int) -> Block:
        """The whole lines from `position`, about _BLOCK bytes at most; none at the end. The block
        begins later where the lines at `position` are gone. Blocking."""
        with self._lock:
            end = self._look()
            end = end if self.closed else self._whole
            begin = min(max(position, self._older_at), end)
            path, first = self.path, self._begin
            if begin < first:
                path, first, end = _older(path), self._older_at, first
            if begin == end or (file := _open(path)) is None:
                return Block(end, end, b"")
        # The file is open: a rotation may now rename or remove it.
        with file:
            file.seek(begin - first)
            data = _whole_lines(file, end - begin)
        return Block(begin, begin + len(data), data) if data else Block(end, end, b"")


def _whole_lines(file: BinaryIO, most: int) -> bytes:
    """Whole lines: about _BLOCK bytes, at most `most`, which itself ends a line."""
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
    """All present lines of a log's files, oldest first, about _BLOCK bytes at a time. Blocking."""
    for file in _files_of(path):
        with file:
            size = os.fstat(file.fileno()).st_size
            while data := _whole_lines(file, size):
                size -= len(data)
                yield _parsed(data)


def _files_of(path: Path) -> list[BinaryIO]:
    """A log's files, oldest first. The newer is opened first: after a rotation in between it is the
    older one, and has all lines up to this moment. After two rotations it is neither."""
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
    """All lines of `blocks_of`, in one list."""
    return [line for lines in blocks_of(path) for line in lines]


def in_order(lines: Iterable[tuple[str, Line]]) -> list[tuple[str, Line]]:
    """The lines of several logs, each with its log's name, as one log by time.

    The lines of one log keep their order, also where the clock was set back in between. The logs
    are merged line by line: a sort of all lines is one call, for which other threads would wait.
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
    """Opens a file without waiting for the reader of a pipe: the loop often writes lines."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    _check_regular(descriptor, path)
    return FileIO(descriptor, "ab")


def _check_regular(descriptor: int, path: Path) -> None:
    """Closes the descriptor and raises OSError where the path is not a regular file."""
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
