"""Bodies that come in chunks, read strictly, in whatever pieces they arrive. No I/O.

Sizes are plain hexadecimal, lines end with CR LF, extensions and trailers are checked and dropped.
These may be 16 KiB in all, so that a body costs no more than a fixed multiple of its bytes, however
it is cut: chunks of one byte take six bytes and less than a microsecond each.
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
    """One chunked body. `rest`: once it has `ended`, what came after it."""

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self._kept = b""  # the beginning of a line that is not all here yet
        self._left = 0  # of the current chunk's bytes
        # The line that comes next, once nothing is left of a chunk.
        self._awaited: Literal["size", "end of chunk", "trailer"] = "size"
        self._extras = 0

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that are in `data`. Raises Malformed; not to be fed after that."""
        assert not self.ended, "it was fed what belongs to the next request"
        if self._kept:
            data, self._kept = self._kept + data, b""
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
                if self._awaited == "size":
                    at = self._take_whole(data, at, found)
            else:
                self._kept = data[at:]
                break
        if self.ended:
            self.rest = data[at:]
        return b"".join(found)

    @staticmethod
    def _take_whole(data: bytes, at: int, found: list[bytes]) -> int:
        """Where the chunks end that are plain and all here, so that small ones cost little."""
        while line := _PLAIN_SIZE.match(data, at):
            start, size = line.end(), int(line[1], 16)
            end = start + size
            if not size or data[end : end + 2] != b"\r\n":
                break
            found.append(data[start:end])
            at = end + 2
        return at

    def _end_of_line(self, data: bytes, at: int) -> int:
        """Where the line that begins at `at` ends, 0 if that is still to come."""
        end = data.find(b"\n", at, at + _LINE_LIMIT) + 1
        if not end and len(data) - at >= _LINE_LIMIT:
            raise ProtocolError(400, f"a line of a chunked body is longer than {_LINE_LIMIT} bytes")
        return end

    def _read_line(self, data: bytes, at: int, end: int) -> None:
        empty = end - at == 2 and data[at] == 13
        if self._awaited == "size":
            self._read_size(data, at, end)
        elif self._awaited == "end of chunk":
            if not empty:
                raise ProtocolError(400, "a chunk is longer than its size says")
            self._awaited = "size"
        elif empty:
            self.ended = True
        elif _TRAILER.fullmatch(data, at, end):
            self._count(end - at)
        else:
            raise ProtocolError(400, "what follows the last chunk is not a trailer")

    def _read_size(self, data: bytes, at: int, end: int) -> None:
        line = _SIZE.fullmatch(data, at, end)
        if line is None:
            raise ProtocolError(400, "the size of a chunk is not a hexadecimal number")
        self._left = int(line[1], 16)
        self._awaited = "end of chunk" if self._left else "trailer"
        if line[2]:
            self._count(end - at)

    def _count(self, extra: int) -> None:
        self._extras += extra
        if self._extras > EXTRAS_LIMIT:
            raise ProtocolError(400, f"extensions and trailers take more than {EXTRAS_LIMIT} bytes")
