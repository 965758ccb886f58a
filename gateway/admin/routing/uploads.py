"""Uploads: the files of a form, each written to a file of the data folder as it comes.

A form is taken apart by Werkzeug, in a thread and in slices: what looks like a boundary and is none
costs it 50 ns a byte. Of a form no more is in memory than what comes while a piece is written, and
the head of a part. How large the body is, is counted here: Quart counts only what waits.
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
# What may come before the first part, or be the head of one.
_LONGEST_HEAD = 64 * 1024
_SLICE = 16 * 1024
# So much of a body is taken from the client before some of it is written.
_AHEAD = 256 * 1024


class StreamedBody(TrioBody):
    """A body that waits for its reader, if it is `streamed`: a slow disk slows the client down,
    and memory does not fill up."""

    streamed = False

    def __init__(self, length: int | None, most: int | None) -> None:
        super().__init__(length, most)
        self._taken = trio.Event()
        self._dropped = False

    def append(self, data: bytes) -> None:
        if not self._dropped:
            super().append(data)

    def drop(self) -> None:
        """Discards what still comes: the client is not held up, and gets the reason."""
        self._dropped = True
        self._data.clear()
        self._taken.set()

    async def wait_for_room(self) -> None:
        while self.streamed and not self._dropped and len(self._data) >= _AHEAD:
            await self._taken.wait()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._taken.set()
        self._taken = trio.Event()
        return data


async def files_of(request: Request, spool: TemporaryFiles) -> MultiDict[str, FileStorage]:
    """The files of the running request's form, in files of `spool`. Raises Refusal, also
    when the reserve of the disk is reached."""
    if not request.mimetype:
        return MultiDict()
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise Refusal("request.media", f"{request.mimetype} is not multipart/form-data")
    form = _Form(boundary, spool)
    received, most = 0, request.max_content_length
    try:
        async for data in request.body:
            received += len(data)
            if most is not None and received > most:
                raise RequestEntityTooLarge
            await trio.to_thread.run_sync(form.feed, data)
        form.end()
    except ValueError as error:
        _give_up(request, form)
        text = f"the form cannot be read: {error}"
        raise Refusal("argument.invalid", text) from error
    except BaseException:
        _give_up(request, form)
        raise
    return MultiDict([(part.name or "", part) for part in form.files])


def _give_up(request: Request, form: "_Form") -> None:
    form.close()
    assert isinstance(request.body, StreamedBody)
    request.body.drop()


def close_files(files: MultiDict[str, FileStorage]) -> None:
    """They are not needed any more."""
    for parts in files.listvalues():
        for each in parts:
            each.close()


class _Form:
    """What has come of a form."""

    def __init__(self, boundary: str, spool: TemporaryFiles) -> None:
        self.files: list[FileStorage] = []
        self._spool = spool
        self._decoder = MultipartDecoder(boundary.encode(), max_parts=MOST_PARTS)
        self._file: IO[bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Blocking. Raises ValueError or Refusal."""
        self._spool.admit("an upload")
        for first in range(0, len(data), _SLICE):
            self._decoder.receive_data(data[first : first + _SLICE])
            self._take()
            if len(self._decoder.buffer) > _LONGEST_HEAD:
                raise ValueError(f"{_LONGEST_HEAD} bytes without the begin of a file")

    def end(self) -> None:
        """All has come. Raises ValueError."""
        self._decoder.receive_data(None)
        self._take()

    def _take(self) -> None:
        while not isinstance(event := self._decoder.next_event(), NeedData | Epilogue):
            if isinstance(event, File):
                self._file = self._begin(event)
            elif isinstance(event, Field):
                self._file = None  # of no use
            elif isinstance(event, Data) and self._file is not None:
                self._file.write(event.data)
                if not event.more_data:
                    self._file.seek(0)

    def _begin(self, event: File) -> IO[bytes]:
        file = self._spool.file()
        self.files.append(FileStorage(file, event.filename, event.name, headers=event.headers))
        return file

    def close(self) -> None:
        for each in self.files:
            each.close()
