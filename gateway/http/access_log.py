"""The access log: one line for each answered request, from both servers.

A connection only adds a record, in memory. Each second the records become lines, and a thread
writes them, so no request waits for the disk. The laws:

- Records in memory are bounded. Records beyond the bound, and lines that the disk does not take,
  are missing from the log; the gateway's own log says how many.
- One request is one line, even if clients send control characters: only printable ASCII is written
  as it is. The query is left out, because it may contain an access key.
- A file that was moved away or deleted, as logrotate does, is created again within a second.
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

from gateway.http.request_head import RequestHead
from gateway.settings import SettingsError
from workers.kernel_limits import explain
from workers.shortages import is_shortage

logger = logging.getLogger(__name__)

# A longer target is cut.
_LONGEST = 300
# Records that are formatted without a checkpoint: they take about a millisecond.
_SLICE = 500
# O_NONBLOCK: a pipe without a reader must not block the thread.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_ODD = re.compile(r"[^ !#-\[\]-~]")


class AccessRecord(NamedTuple):
    """One response. `method` is empty where no request could be read. An unknown `status` is 0,
    an unknown `size` negative. `seconds` counts from when the whole request had come."""

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
    """Records on their way into the file at `path`. Raises SettingsError if it cannot be opened.

    It writes every `interval` seconds, keeps at most `capacity` records in memory, and at the end
    gives the disk `last_seconds`.
    """

    def __init__(
        self,
        path: str,
        *,
        interval: float = 1.0,
        capacity: int = 100_000,
        last_seconds: float = 2.0,
    ) -> None:
        self._interval = interval
        self._capacity = capacity
        self._last_seconds = last_seconds
        self._path = Path(path).expanduser()
        self._records: list[AccessRecord] = []
        self._missing = 0
        self._failing = self._reopening = False
        self._torn = False  # a failed write has left half a line
        self._ending = trio.Event()
        self._life = trio.CancelScope(shield=True)
        try:
            self._file = os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            raise SettingsError(f"cannot open access_log {path}: {error.strerror}") from error

    def add(
        self,
        address: str,
        head: RequestHead | None,
        status: int,
        size: int,
        seconds: float,
        request_id: str,
    ) -> None:
        """Records a response to the request with this head, if one was read."""
        if len(self._records) >= self._capacity:
            self._missing += 1
            return
        method, target, minor = ("", "", 1)
        if head is not None:
            method, target, minor = head.method, head.target[:_LONGEST], head.minor
        self._records.append(
            AccessRecord(
                time.time(), address, method, target, minor, status, size, seconds, request_id
            )
        )

    async def run(self) -> None:
        """Writes until `end`, and then what is left. Cannot be cancelled."""
        with self._life:
            ending = False
            while not ending:
                with trio.move_on_after(self._interval):
                    await self._ending.wait()
                ending = self._ending.is_set()
                await self._write()
            self._report("")
            os.close(self._file)
        if self._life.cancelled_caught:
            logger.warning("access_log.truncated path=%r", str(self._path))

    def reopen(self) -> None:
        """Opens the file again before the next line."""
        self._reopening = True

    def end(self) -> None:
        """Makes `run` return soon, however slow the disk is."""
        self._life.deadline = trio.current_time() + self._last_seconds
        self._ending.set()

    async def _write(self) -> None:
        records, self._records = self._records, []
        lines = list[bytes]()
        for at in range(0, len(records), _SLICE):
            # Not in the thread, which would take the GIL from requests.
            lines.append("".join(map(line, records[at : at + _SLICE])).encode("ascii"))
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
                lost, problem = len(records), explain(error)
            self._missing += lost
        self._report(problem)

    def _report(self, problem: str) -> None:
        if problem and not self._failing:
            logger.warning("access_log.write_failed path=%r: %s", str(self._path), problem)
        elif self._missing and not problem:
            logger.warning(
                "access_log.incomplete path=%r missing=%d", str(self._path), self._missing
            )
            self._missing = 0
        self._failing = bool(problem)

    def _append(self, data: bytes) -> tuple[int, str]:
        """The number of lines that could not be written, and why. For a thread."""
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
        """Opens the file again if its path leads to another file."""
        try:
            there = os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            there = False
        if not there or self._reopening:
            fresh = os.open(self._path, _FLAGS, 0o600)
            os.close(self._file)
            self._file = fresh
            self._torn = self._reopening = False


@asynccontextmanager
async def open_access_log(path: str) -> AsyncIterator[AccessLog | None]:
    """The access log at `path`; None where that is empty. Raises SettingsError."""
    if not path:
        yield None
        return
    async with writing(AccessLog(path)) as log:
        yield log


@asynccontextmanager
async def writing(log: AccessLog) -> AsyncIterator[AccessLog]:
    """Inside, the records of the log are written; at the end, what is left."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        try:
            yield log
        finally:
            log.end()


def line(record: AccessRecord) -> str:
    """The record in the common log format, followed by the microseconds and the request's id."""
    asked = "-"
    if record.method:
        asked = f"{record.method} {record.target.partition('?')[0]} HTTP/1.{record.minor}"
        if _ODD.search(asked):
            asked = _ODD.sub(_escaped, asked)
    status, size = record.status or "-", record.size if record.size >= 0 else "-"
    return (
        f'{record.address} - - [{_stamp(int(record.at))}] "{asked}" {status} {size} '
        f"{record.seconds * 1e6:.0f} {record.request_id or '-'}\n"
    )


@lru_cache(maxsize=8)
def _stamp(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))


def _escaped(odd: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in odd[0].encode("utf-8", "surrogatepass"))
