"""The one thread that reads what models and scripts print.

Lines are what was printed, decoded leniently, in pieces of at most 16 KiB.

All pipes are read by one thread with an epoll of its own, because a disk may be slow and the
reactor must never wait for one (gotcha G7 in README).

A pipe has a rate, and a larger burst after it was silent for a while. Output beyond that is a
flood: it is dropped unread, so that neither the writer nor other pipes wait for it, and a line says
how much that was.
"""

import codecs
import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio

from workers.sizes import KIB, MIB, human_size

LINE_LIMIT = 16 * KIB
_READ = 64 * KIB
_QUIET = 0.5  # seconds after which a line without its end is passed on as it is
# The bytes that a pipe may give each second, and at once. A burst larger than a log is useless.
RATE = MIB
BURST = 8 * RATE
# What a line costs beside its bytes: its time in the log, and the work that it causes.
_LINE_COST = 64
# The seconds between two drops of a flood. Each drops all that is in the pipe: with a pipe of 1 MiB
# that is far more than a model can print.
_FLOOD_PAUSE = 0.002
_FLOOD_PIPE = MIB

# Gets the lines that were just read from one pipe.
Sink = Callable[[list[str]], object]


class TokenBucket:
    """What a pipe may still give: grows by RATE each second, up to BURST. A negative balance is a
    flood, which lasts until there is enough again for a second."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._left = float(BURST)

    def spend(self, cost: int, now: float) -> bool:
        """Whether the balance covers the cost."""
        self._grow(now)
        self._left -= cost
        return self._left >= 0

    def is_enough(self, now: float) -> bool:
        """Whether a flood may count as over."""
        self._grow(now)
        return self._left >= RATE

    def _grow(self, now: float) -> None:
        self._left = min(BURST, self._left + RATE * (now - self._at))
        self._at = now


class _Source:
    """The read end of one pipe, and the piece of a line that has no end yet."""

    def __init__(self, fd: int, sink: Sink) -> None:
        self.fd = fd
        self.open = True
        self.floods = False
        self._dropped = 0
        self._read_at = time.monotonic()
        self._allowance = TokenBucket(self._read_at)
        self._sink = sink
        # Keeps the first bytes of a character until its last have come (gotcha G8 in README).
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def read(self) -> int | None:
        """Reads once. The number of bytes: 0 at the pipe's end, None if nothing is there now."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return None
        self._read_at = time.monotonic()
        self._take(self._decoder.decode(data))
        cost = len(data) + data.count(b"\n") * _LINE_COST
        if not self._allowance.spend(cost, self._read_at):
            self._begin_flood()
        return len(data)

    def _take(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").split("\n")
        if lines:
            self._write(lines)
        if len(self._rest) > LINE_LIMIT:
            self.flush()

    # A flood, from the read that exceeded the allowance until that has grown again.

    def _begin_flood(self) -> None:
        self.floods = True
        self._resize(_FLOOD_PIPE)

    def discard(self, null: int) -> int | None:
        """Like `read`, but drops the bytes: moves them to `null` without reading them."""
        try:
            dropped = os.splice(self.fd, null, _FLOOD_PIPE)
        except BlockingIOError:
            return None
        self._dropped += dropped
        return dropped

    def ends_flood(self) -> bool:
        """Whether it may be read again; if so, logs how much was dropped."""
        if not self._allowance.is_enough(time.monotonic()):
            return False
        self.floods = False
        self._resize(_READ)
        self._log_dropped()
        return True

    def _log_dropped(self) -> None:
        if self._dropped:
            self._take(self._decoder.decode(b"", final=True))
            self._decoder.reset()
            self.flush()
            size, rate = human_size(self._dropped), human_size(RATE)
            self._sink([f"[predictd] {size} of output dropped: more than {rate} a second"])
            self._dropped = 0

    def _resize(self, size: int) -> None:
        # A user's pipes share 64 MiB, and a pipe with more bytes in it cannot be made smaller. It
        # then stays as it is, and drops a flood more slowly.
        with suppress(OSError):
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, size)

    @property
    def pending(self) -> bool:
        return bool(self._rest)

    def is_quiet(self, now: float) -> bool:
        """Whether a line has been without its end for so long that it is passed on."""
        return self.pending and now - self._read_at >= _QUIET

    def flush(self) -> None:
        if self._rest:
            self._write([self._rest])
            self._rest = ""

    def _write(self, lines: list[str]) -> None:
        if max(map(len, lines)) > LINE_LIMIT:
            lines = [piece for line in lines for piece in _pieces(line)]
        self._sink(lines)

    def close(self) -> None:
        self._log_dropped()
        self._take(self._decoder.decode(b"", final=True))
        self.flush()
        self.open = False
        os.close(self.fd)


def _pieces(line: str) -> list[str]:
    return [line[i : i + LINE_LIMIT] for i in range(0, len(line), LINE_LIMIT)] or [""]


class Output:
    """The thread that reads all pipes. `attach` and `drain` are for Trio's thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wakeup, select.EPOLLIN)
        self._null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        self._sources: dict[int, _Source] = {}
        # Those that flood; epoll does not watch them.
        self._floods: set[_Source] = set()
        self._discard_at = 0.0
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
        """Reads what is in the pipes and closes them, even if a process has the other end open
        (gotcha G6 in README)."""
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def drain() -> None:
            for source in sources:
                if source.open:
                    # A pipe has 64 KiB; after a few reads, another process still prints.
                    for _ in range(8):
                        if not (source.discard(self._null) if source.floods else source.read()):
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
        os.close(self._wakeup)
        os.close(self._null)

    def _ask(self, call: Callable[[], None]) -> None:
        self._asked.append(call)
        os.eventfd_write(self._wakeup, 1)

    def _add(self, source: _Source) -> None:
        self._sources[source.fd] = source
        self._watch(source)

    def _watch(self, source: _Source) -> None:
        """Registers it with epoll. Where the kernel has no memory for that it is treated as a
        flood, which is polled for without epoll."""
        try:
            self._epoll.register(source.fd, select.EPOLLIN)
        except OSError:
            source.floods = True
            self._floods.add(source)
        else:
            self._floods.discard(source)

    def _drop(self, source: _Source) -> None:
        if source.open:
            del self._sources[source.fd]
            if source in self._floods:
                self._floods.remove(source)
            else:
                self._epoll.unregister(source.fd)
            source.close()

    def _run(self) -> None:
        while not self._ended:
            quiet = _QUIET if any(s.pending for s in self._sources.values()) else -1
            ready = self._epoll.poll(_FLOOD_PAUSE if self._floods else quiet)
            for fd, _ in ready:
                if fd == self._wakeup:
                    os.eventfd_read(self._wakeup)
                    while self._asked:
                        self._asked.popleft()()
                elif (source := self._sources.get(fd)) is not None:
                    self._read(source)
            now = time.monotonic()
            if self._floods:
                self._discard(now)
            for source in self._sources.values():
                if source.is_quiet(now):
                    source.flush()
        for source in list(self._sources.values()):
            self._drop(source)

    def _read(self, source: _Source) -> None:
        try:
            if source.read() == 0:
                self._drop(source)
        except OSError:
            self._drop(source)
        if source.open and source.floods:
            self._epoll.unregister(source.fd)
            self._floods.add(source)

    def _discard(self, now: float) -> None:
        """Drops what floods the pipes, and reads those again whose flood is over."""
        if now < self._discard_at:
            return
        self._discard_at = now + _FLOOD_PAUSE
        for source in list(self._floods):
            if source.discard(self._null) == 0:
                self._drop(source)
            elif source.ends_flood():
                self._watch(source)
