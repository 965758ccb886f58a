"""Chunked bodies, parsed strictly, in pieces of any size. No I/O.

Sizes are plain hexadecimal, and lines end with CR LF. Extensions and trailers are checked and
dropped. Together they may take 16 KiB, so a body costs no more than a fixed multiple of its bytes,
however it is cut: a chunk of one byte takes six bytes and less than a microsecond.
"""

import re
from typing import Literal

from gateway.http.request_head import ProtocolError

EXTRAS_LIMIT = 16 * 1024
# One line: a size and its extensions, or a trailer.
_LINE_LIMIT = 1024
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t -~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n")


class ChunkedDecoder:
    """One chunked body. Once it has `ended`, `rest` holds the bytes after it."""

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self._partial = b""  # the beginning of a line whose end has not come
        self._left = 0  # bytes of the current chunk that have not come
        # The line that comes next, when no chunk is under way.
        self._expected: Literal["size", "end of chunk", "trailer"] = "size"
        self._extras = 0

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in `data`. Raises ProtocolError; must not be called after that."""
        assert not self.ended, "the body has ended: these bytes belong to the next request"
        if self._partial:
            data, self._partial = self._partial + data, b""
        found: list[bytes] = []
        at = 0
        while at < len(data) and not self.ended:
            if self._left:
                found.append(data[at : at + self._left])
                at += len(found[-1])
                self._left -= len(found[-1])
            elif end := self._end_of_line(data, at):
                self._read_line(data, at, end)
                at = end
                if self._expected == "size":
                    at = self._take_complete(data, at, found)
            else:
                self._partial = data[at:]
                break
        if self.ended:
            self.rest = data[at:]
        return b"".join(found)

    @staticmethod
    def _take_complete(data: bytes, at: int, found: list[bytes]) -> int:
        """Where the run of complete plain chunks ends. It makes small chunks cheap."""
        while line := _PLAIN_SIZE.match(data, at):
            start, size = line.end(), int(line[1], 16)
            end = start + size
            if not size or data[end : end + 2] != b"\r\n":
                break
            found.append(data[start:end])
            at = end + 2
        return at

    def _end_of_line(self, data: bytes, at: int) -> int:
        """The end of the line that begins at `at`, or 0 if it has not come."""
        end = data.find(b"\n", at, at + _LINE_LIMIT) + 1
        if not end and len(data) - at >= _LINE_LIMIT:
            raise ProtocolError(400, f"a line of a chunked body is longer than {_LINE_LIMIT} bytes")
        return end

    def _read_line(self, data: bytes, at: int, end: int) -> None:
        empty = end - at == 2 and data[at] == 13
        if self._expected == "size":
            self._read_size(data, at, end)
        elif self._expected == "end of chunk":
            if not empty:
                raise ProtocolError(400, "a chunk is longer than its size says")
            self._expected = "size"
        elif empty:
            self.ended = True
        elif _TRAILER.fullmatch(data, at, end):
            self._count(end - at)
        else:
            raise ProtocolError(400, "the bytes after the last chunk are not a trailer")

    def _read_size(self, data: bytes, at: int, end: int) -> None:
        line = _SIZE.fullmatch(data, at, end)
        if line is None:
            raise ProtocolError(400, "the size of a chunk is not a hexadecimal number")
        self._left = int(line[1], 16)
        self._expected = "end of chunk" if self._left else "trailer"
        if line[2]:
            self._count(end - at)

    def _count(self, extra: int) -> None:
        self._extras += extra
        if self._extras > EXTRAS_LIMIT:
            raise ProtocolError(400, f"extensions and trailers take more than {EXTRAS_LIMIT} bytes")
