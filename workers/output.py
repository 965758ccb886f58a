"""What models and scripts print: logs, and the one thread that fills them.

A Log is a size-rotated file with a tail in memory. Its lines read `<time> <stream> <text>`; text
is what was printed, decoded leniently, in pieces of at most 16 KiB. A log outlives the process
that filled it.

All pipes are read by one thread with an epoll of its own, because a disk may be slow and the
reactor must never wait for one (gotcha G9). A model that prints faster than the disk takes it waits
in its own `print`; nobody else does.
"""

import codecs
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import trio

LINE_LIMIT = 16 * 1024
_READ = 64 * 1024
_QUIET = 0.5  # seconds after which a line without its end is taken as it is


class Line(msgspec.Struct, frozen=True):
    """One line of a log. `at` is UTC, `2026-11-21T02:35:00.123Z`."""

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
    line costs that line, counted in `lost`, and never the process that printed it.
    """

    def __init__(self, path: Path, *, most_bytes: int = 8 * 1024 * 1024) -> None:
        self.path = path
        self.lost = 0
        self.closed = False
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._tail: deque[Line] = deque(maxlen=200)
        self._file: BinaryIO | None = None
        self._bells: set[Callable[[], None]] = set()

    def write(self, line: str, stream: str = "stdout") -> None:
        """Adds one line, or several where `line` has line ends. After the close: nothing."""
        self.write_lines(line.split("\n"), stream)

    def write_lines(self, texts: Iterable[str], stream: str = "stdout") -> None:
        """Adds lines in one go; see `write`."""
        at = _now()
        lines = [Line(at, stream, text) for text in texts]
        data = "".join([f"{each}\n" for each in lines]).encode("utf-8", "backslashreplace")
        with self._lock:
            if self.closed:
                return
            self._tail.extend(lines)
            try:
                self._append(data)
            except OSError:
                self.lost += len(lines)
            self._ring()

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - kept until the close
        elif self._file.tell() > self._most_bytes:
            self._file.close()
            self._file = None
            self.path.replace(_older(self.path))
            self._append(data)
            return
        self._file.write(data)

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
            texts = await trio.to_thread.run_sync(self._reader.read)
            if texts or closed:
                return [Line.parse(text) for text in texts]
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

    def read(self) -> list[str]:
        """The whole lines that are there and were not read before, about 1 MiB at most."""
        while True:
            if self._file is None:
                self._file = (_open if self._begun else _open_oldest)(self._path)
                if self._file is None:
                    return []
                self._begun = True
            # Look first, then read: a file that was rotated away gets nothing more after that.
            current = self._is_current()
            data = self._rest + self._file.read(1024 * 1024)
            whole, _, self._rest = data.rpartition(b"\n")
            if whole:
                return whole.decode("utf-8", "replace").split("\n")
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


def read_log(path: Path) -> list[Line]:
    """All lines that a log's files hold, oldest first. Blocking."""
    reader = _Reader(path)
    lines: list[Line] = []
    while texts := reader.read():
        lines += map(Line.parse, texts)
    reader.close()
    return lines


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


# Takes the lines that one pipe has just given.
Sink = Callable[[list[str]], object]


class _Source:
    """The read end of one pipe, and the piece of a line that has no end yet."""

    def __init__(self, fd: int, sink: Sink) -> None:
        self.fd = fd
        self.open = True
        self._sink = sink
        # Keeps the first bytes of a character until its last have come (gotcha G10).
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def read(self) -> int | None:
        """Takes what is there, in bytes: 0 at the pipe's end, None when nothing is there now."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return None
        self._take(self._decoder.decode(data))
        return len(data)

    def _take(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._write([line.removesuffix("\r") for line in lines])
        if len(self._rest) > LINE_LIMIT:
            self.flush()

    @property
    def pending(self) -> bool:
        return bool(self._rest)

    def flush(self) -> None:
        if self._rest:
            self._write([self._rest])
            self._rest = ""

    def _write(self, lines: list[str]) -> None:
        pieces = []
        for line in lines:
            pieces += [line[i : i + LINE_LIMIT] for i in range(0, len(line), LINE_LIMIT)] or [""]
        self._sink(pieces)

    def close(self) -> None:
        self._take(self._decoder.decode(b"", final=True))
        self.flush()
        self.open = False
        os.close(self.fd)


class Output:
    """The thread that reads all pipes. `attach` and `drain` are for Trio's thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._sources: dict[int, _Source] = {}
        self._asked: deque[Callable[[], None]] = deque()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="predictd-output", daemon=True)
        self._thread.start()

    def attach(self, fd: int, sink: Sink) -> _Source:
        """Gives `sink` the lines of the pipe `fd` from now on, and closes it at its end.

        `sink` is called in the output thread and must not raise.
        """
        os.set_blocking(fd, False)
        source = _Source(fd, sink)
        self._ask(lambda: self._add(source))
        return source

    async def drain(self, *sources: _Source) -> None:
        """Takes what is in the pipes and closes them, even if somebody holds the other end
        (gotcha G7)."""
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def drain() -> None:
            for source in sources:
                if source.open:
                    # A pipe holds 64 KiB; more than a few rounds is somebody who goes on printing.
                    for _ in range(8):
                        if not source.read():
                            break
                    self._drop(source)
            token.run_sync_soon(done.set)

        self._ask(drain)
        await done.wait()

    def close(self) -> None:
        """Ends the thread. Pipes still attached are drained and closed."""

        def end() -> None:
            self._ended = True

        self._ask(end)
        self._thread.join()
        self._epoll.close()
        os.close(self._bell)

    def _ask(self, call: Callable[[], None]) -> None:
        self._asked.append(call)
        os.eventfd_write(self._bell, 1)

    def _add(self, source: _Source) -> None:
        self._sources[source.fd] = source
        self._epoll.register(source.fd, select.EPOLLIN)

    def _drop(self, source: _Source) -> None:
        if source.open:
            del self._sources[source.fd]
            self._epoll.unregister(source.fd)
            source.close()

    def _run(self) -> None:
        while not self._ended:
            quiet = _QUIET if any(s.pending for s in self._sources.values()) else -1
            ready = self._epoll.poll(quiet)
            for fd, _ in ready:
                if fd == self._bell:
                    os.eventfd_read(self._bell)
                    while self._asked:
                        self._asked.popleft()()
                elif (source := self._sources.get(fd)) is not None:
                    self._read(source)
            if not ready:
                for source in self._sources.values():
                    source.flush()
        for source in list(self._sources.values()):
            self._drop(source)

    def _read(self, source: _Source) -> None:
        try:
            if source.read() == 0:
                self._drop(source)
        except OSError:
            self._drop(source)
