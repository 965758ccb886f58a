"""Uploads: each file of a form is written to a temporary file as it arrives.

Werkzeug parses the form, in a thread and in slices: content that resembles a boundary costs it
50 ns a byte. Memory holds only what arrives while a piece is written, and the head of a part. The
size of the body is counted here, since Quart counts only what waits.
"""

from typing import IO

import trio
from quart import Request
from quart_trio.wrappers.request import TrioBody
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.errors import Refusal

MOST_PARTS = 500
# The largest head of a part, or preamble before the first part.
_LONGEST_HEAD = 64 * 1024
_SLICE = 16 * 1024
# Bytes of a body that are read from the client before some are written.
_AHEAD = 256 * 1024


class StreamedBody(TrioBody):
    """A body that waits for its reader if it is `streamed`: a slow disk then slows the client down
    instead of filling memory."""

    streamed = False

    def __init__(self, length: int | None, most: int | None) -> None:
        super().__init__(length, most)
        self._was_read = trio.Event()
        self._dropped = False

    def append(self, data: bytes) -> None:
        if not self._dropped:
            super().append(data)

    def drop(self) -> None:
        """Discards what still arrives, so that the client can send it and read the error."""
        self._dropped = True
        self._data.clear()
        self._was_read.set()

    async def wait_for_room(self) -> None:
        while self.streamed and not self._dropped and len(self._data) >= _AHEAD:
            await self._was_read.wait()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._was_read.set()
        self._was_read = trio.Event()
        return data


async def files_of(
    request: Request, temporary_files: TemporaryFiles
) -> MultiDict[str, FileStorage]:
    """The files of the running request's form, as temporary files. Raises Refusal, also if the disk
    has too little free space."""
    if not request.mimetype:
        return MultiDict()
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise Refusal("request.media", f"{request.mimetype} is not multipart/form-data")
    form = _Form(boundary, temporary_files)
    received, most = 0, request.max_content_length
    try:
        async for data in request.body:
            received += len(data)
            if most is not None and received > most:
                raise RequestEntityTooLarge
            await trio.to_thread.run_sync(form.feed, data)
        form.end()
    except ValueError as error:
        _abort(request, form)
        text = f"the form cannot be read: {error}"
        raise Refusal("argument.invalid", text) from error
    except BaseException:
        _abort(request, form)
        raise
    return MultiDict([(part.name or "", part) for part in form.files])


def _abort(request: Request, form: "_Form") -> None:
    form.close()
    assert isinstance(request.body, StreamedBody)
    request.body.drop()


def close_files(files: MultiDict[str, FileStorage]) -> None:
    """Closes all files of a form, which deletes them."""
    for parts in files.listvalues():
        for each in parts:
            each.close()


class _Form:
    """The part of a form that has arrived."""

    def __init__(self, boundary: str, temporary_files: TemporaryFiles) -> None:
        self.files: list[FileStorage] = []
        self._temporary_files = temporary_files
        self._decoder = MultipartDecoder(boundary.encode(), max_parts=MOST_PARTS)
        self._file: IO[bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Blocking. Raises ValueError or Refusal."""
        self._temporary_files.admit("an upload")
        for first in range(0, len(data), _SLICE):
            self._decoder.receive_data(data[first : first + _SLICE])
            self._parse()
            if len(self._decoder.buffer) > _LONGEST_HEAD:
                raise ValueError(f"{_LONGEST_HEAD} bytes without the start of a file")

    def end(self) -> None:
        """The form is complete. Raises ValueError."""
        self._decoder.receive_data(None)
        self._parse()

    def _parse(self) -> None:
        while not isinstance(event := self._decoder.next_event(), NeedData | Epilogue):
            if isinstance(event, File):
                self._file = self._begin(event)
            elif isinstance(event, Field):
                self._file = None  # a field that is not a file is ignored
            elif isinstance(event, Data) and self._file is not None:
                self._file.write(event.data)
                if not event.more_data:
                    self._file.seek(0)

    def _begin(self, event: File) -> IO[bytes]:
        file = self._temporary_files.file()
        self.files.append(FileStorage(file, event.filename, event.name, headers=event.headers))
        return file

    def close(self) -> None:
        for each in self.files:
            each.close()
