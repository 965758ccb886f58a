"""Writes frames to a replica's pipe, as much at a time as the pipe takes."""

import os
from collections.abc import Callable

from workers.errors import WireError
from workers.reactor.reactor import WRITABLE
from workers.replica.interfaces import EventLoop


class RequestWriter:
    """The write end of the pipe to a replica. Owns its descriptor.

    `closed_by_reader` is called when the replica has closed its end. Read only: `unsent`, the
    pieces that the pipe has not taken yet.
    """

    __slots__ = ("_awaits_writable", "_closed_by_reader", "_fd", "_loop", "unsent")

    def __init__(self, fd: int, loop: EventLoop, closed_by_reader: Callable[[], None]) -> None:
        self._fd = fd
        self._loop = loop
        self._closed_by_reader = closed_by_reader
        self.unsent: list[memoryview] = []
        self._awaits_writable = False

    def send(self, frame: bytes) -> None:
        """Writes a frame at once if it fits. Raises WireError where the pipe cannot be watched."""
        try:
            sent = os.write(self._fd, frame)
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:
            self._closed_by_reader()
            return
        if sent < len(frame):
            self._send_later(memoryview(frame)[sent:])

    def send_large(self, header: bytes, body: bytes | bytearray) -> None:
        """Writes a frame that does not fit into the pipe, without copying it."""
        self._send_later(memoryview(header), memoryview(body))
        self._on_writable(WRITABLE)

    def _send_later(self, *pieces: memoryview) -> None:
        try:
            self._loop.register(self._fd, WRITABLE, self._on_writable)
        except OSError as error:  # the kernel has no memory to watch one more
            raise WireError(f"its pipe cannot be watched: {error.strerror}") from error
        self.unsent.extend(pieces)
        self._awaits_writable = True

    def _on_writable(self, events: int) -> None:
        self._write()
        if not self.unsent and self._awaits_writable:
            self._awaits_writable = False
            self._loop.unregister(self._fd)

    def _write(self) -> None:
        unsent = self.unsent
        try:
            sent = os.writev(self._fd, unsent)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._closed_by_reader()
            return
        while unsent and sent >= len(unsent[0]):
            sent -= len(unsent.pop(0))
        if unsent:
            unsent[0] = unsent[0][sent:]

    def close(self) -> None:
        self.unsent.clear()
        if self._awaits_writable:
            self._awaits_writable = False
            self._loop.unregister(self._fd)
        os.close(self._fd)
