"""The access log: a line for each request that was answered, whichever way it came.

Who answers only notes it, in memory. Each second the notes become lines, and a thread writes
them: no disk makes anybody wait. The laws:

- What is kept in memory is bounded. What is over that, or what the disk does not take, is missing
  from the log, and the gateway's own log says how much is.
- One request is one line, whatever clients say: only printable ASCII goes in as it is. The query
  stays out, since an access key may be in it.
- A file that was moved away or deleted, as logrotate does, is made anew within a second.
"""

import logging
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import trio

from gateway.http.request_head import Head
from gateway.settings import SettingsError
from workers.process_limits import explain
from workers.shortages import is_shortage

logger = logging.getLogger(__name__)

SECONDS = 1.0  # between two writes
MOST = 100_000  # notes in memory
# What is kept of a path.
_LONGEST = 300
# Notes that are made into lines in one go: they take about a millisecond.
_SLICE = 500
# At the end, how long a disk may take.
_LAST_SECONDS = 2.0
# A pipe that nobody reads must not hold up the thread.
_HOW = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_ODD = re.compile(r"[^ !#-\[\]-~]")


class AccessRecord(NamedTuple):
    """One answer. `method` is empty where no request could be read; `status` is 0 and `size`
    negative where they are not known; `seconds` passed since the whole request was there."""

    at: float
    address: str
    method: str
    target: str
    minor: int
    status: int
    size: int
    seconds: float
    request_id: str


class AccessLog:
    """Notes on their way into the file at `path`. Raises SettingsError where that cannot be."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()
        self._notes: list[AccessRecord] = []
        self._missing = 0
        self._failing = self._reopening = False
        self._torn = False  # a write that failed has left half a line
        self._ending = trio.Event()
        self._life = trio.CancelScope(shield=True)
        try:
            self._file = os.open(self._path, _HOW, 0o600)
        except OSError as error:
            raise SettingsError(f"cannot open access_log {path}: {error.strerror}") from error

    def add(
        self,
        address: str,
        head: Head | None,
        status: int,
        size: int,
        seconds: float,
        request_id: str,
    ) -> None:
        """Takes note of an answer to the request with this head, if there was one."""
        if len(self._notes) >= MOST:
            self._missing += 1
            return
        method, target, minor = ("", "", 1)
        if head is not None:
            method, target, minor = head.method, head.target[:_LONGEST], head.minor
        self._notes.append(
            AccessRecord(
                time.time(), address, method, target, minor, status, size, seconds, request_id
            )
        )

    async def run(self) -> None:
        """Writes each second until `end`, and then what is left. Cannot be cancelled."""
        with self._life:
            ending = False
            while not ending:
                with trio.move_on_after(SECONDS):
                    await self._ending.wait()
                ending = self._ending.is_set()
                await self._write()
            self._tell("")
            os.close(self._file)
        if self._life.cancelled_caught:
            logger.warning("the access log %s does not go to the end", self._path)

    def reopen(self) -> None:
        """Opens the file again before the next line."""
        self._reopening = True

    def end(self) -> None:
        """Lets `run` return: soon, whatever the disk does."""
        self._life.deadline = trio.current_time() + _LAST_SECONDS
        self._ending.set()

    async def _write(self) -> None:
        notes, self._notes = self._notes, []
        lines = list[bytes]()
        for at in range(0, len(notes), _SLICE):
            # Not in the thread: it would take turns from all that is being answered.
            lines.append("".join(map(line, notes[at : at + _SLICE])).encode("ascii"))
            await trio.lowlevel.checkpoint()
        problem = ""
        if lines:
            try:
                lost, problem = await trio.to_thread.run_sync(
                    self._append, b"".join(lines), abandon_on_cancel=True
                )
            except Exception as error:
                if not is_shortage(error):
                    raise
                lost, problem = len(notes), explain(error)
            self._missing += lost
        self._tell(problem)

    def _tell(self, problem: str) -> None:
        if problem and not self._failing:
            logger.warning("cannot write the access log %s: %s", self._path, problem)
        elif self._missing and not problem:
            logger.warning("%d requests are missing in %s", self._missing, self._path)
            self._missing = 0
        self._failing = bool(problem)

    def _append(self, data: bytes) -> tuple[int, str]:
        """How many of these lines could not be written, and why. For a thread."""
        lines, left = data.count(b"\n"), data
        try:
            self._reopen()
            if self._torn:
                left = data = b"\n" + data
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            written = data[: len(data) - len(left)]
            self._torn = not written.endswith(b"\n") if written else self._torn
            return min(lines, left.count(b"\n")), error.strerror or str(error)
        self._torn = False
        return 0, ""

    def _reopen(self) -> None:
        """Opens it again where its path does not lead to it any more."""
        try:
            there = os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            there = False
        if not there or self._reopening:
            fresh = os.open(self._path, _HOW, 0o600)
            os.close(self._file)
            self._file = fresh
            self._torn = self._reopening = False


@asynccontextmanager
async def open_access_log(path: str) -> AsyncIterator[AccessLog | None]:
    """The access log at `path`; None where that is empty. Raises SettingsError."""
    if not path:
        yield None
        return
    log = AccessLog(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        try:
            yield log
        finally:
            log.end()


def line(note: AccessRecord) -> str:
    """The note in the common log format, and behind it the microseconds and the request's id."""
    asked = "-"
    if note.method:
        asked = f"{note.method} {note.target.partition('?')[0]} HTTP/1.{note.minor}"
        if _ODD.search(asked):
            asked = _ODD.sub(_escaped, asked)
    status, size = note.status or "-", note.size if note.size >= 0 else "-"
    return (
        f'{note.address} - - [{_stamp(int(note.at))}] "{asked}" {status} {size} '
        f"{note.seconds * 1e6:.0f} {note.request_id or '-'}\n"
    )


@lru_cache(maxsize=8)
def _stamp(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))


def _escaped(odd: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in odd[0].encode("utf-8", "surrogatepass"))
