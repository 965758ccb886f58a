"""Sends files and logs in pieces, as fast as the client reads them.

A file is sent from one open descriptor, so a file that replaces it meanwhile is not mixed into it.
If a file is written to while it is sent, the connection ends before the last piece, so that the
client sees an incomplete response instead of a mixture of two states.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import trio
from quart import Response, request
from quart.wrappers.response import ResponseBody
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from gateway.errors import Refusal
from workers import Line
from workers.log import blocks_of

_PIECE = 64 * 1024


class Changed(Exception):
    """The file has changed since its download began."""


class FileBody(ResponseBody):
    """A response body: an open file, or the range of it that is requested. Closes the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._facts = os.fstat(file.fileno())
        self.size = self._facts.st_size
        self.changed = datetime.fromtimestamp(self._facts.st_mtime, UTC)
        self.begin, self.end = 0, self.size

    async def __aenter__(self) -> "FileBody":
        self._file.seek(self.begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._file.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        left = self.end - self.begin
        while left:
            piece = await trio.to_thread.run_sync(self._read, min(left, _PIECE))
            left -= len(piece)
            if not piece or (not left and self._has_changed()):
                raise Changed("a file was written to while it was downloaded")
            yield piece

    def _read(self, size: int) -> bytes:
        return self._file.read(size)

    def _has_changed(self) -> bool:
        now = os.fstat(self._file.fileno())
        then = self._facts
        return (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns)

    async def make_conditional(self, begin: int, end: int | None) -> int:
        """A range of the file is requested. The name is Quart's."""
        self.begin = begin if begin >= 0 else max(0, self.size + begin)  # the last -begin bytes
        self.end = self.size if end is None else min(end, self.size)
        if self.begin >= self.end:
            raise RequestedRangeNotSatisfiable
        return self.size


async def download(open_file: Callable[[], BinaryIO], path: str) -> Response:
    """The response with the file at `path`, or with the range of it that the request asks for. A
    browser saves it under its name, and never shows it."""
    body = FileBody(await trio.to_thread.run_sync(open_file))
    name = quote(path.rpartition("/")[2], safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    response = Response(body, 200, headers, content_type="application/octet-stream")
    response.content_length = body.size
    response.last_modified = body.changed
    response.accept_ranges = "bytes"
    try:
        await response.make_conditional(request, accept_ranges=True, complete_length=body.size)
    except RequestedRangeNotSatisfiable:
        asked = request.headers.get("Range")
        text = f"Range: {asked!r} is not a range of a file of {body.size} bytes"
        raise Refusal("argument.invalid", text) from None
    return response


def log_text(path: Path, *, without: str = "") -> Response:
    """The response with a log as text, without the lines of one stream."""

    def text(lines: Iterable[Line]) -> bytes:
        return "".join([f"{line.text}\n" for line in lines if line.stream != without]).encode()

    async def pieces() -> AsyncIterator[bytes]:
        texts: Iterator[bytes] = map(text, blocks_of(path))
        while (piece := await trio.to_thread.run_sync(next, texts, None)) is not None:
            if piece:
                yield piece

    return Response(pieces(), content_type="text/plain; charset=utf-8")
