"""The one thread that reads what models and scripts print.

Text is what was printed, decoded leniently, in pieces of at most 16 KiB.

All pipes are read by one thread with an epoll of its own, because a disk may be slow and the
reactor must never wait for one (gotcha G9). A model that prints faster than the disk takes it waits
in its own `print`; nobody else does.
"""

import codecs
import os
import select
import threading
from collections import deque
from collections.abc import Callable

import trio

LINE_LIMIT = 16 * 1024
_READ = 64 * 1024
_QUIET = 0.5  # seconds after which a line without its end is taken as it is

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
