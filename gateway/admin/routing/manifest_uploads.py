"""Receives an upload with a manifest: each line and each content is checked as it arrives.

Everything is written to a temporary folder, in a thread, and nothing of it stays after the request.
Memory holds one line, or one piece of a content. A content that does not have the hash and the
size that the manifest gives is refused.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import trio
from quart import Request
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.admin.routing.uploads import StreamedBody
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.projects.uploads import Received
from gateway.errors import Refusal
from gateway.upload_manifest import (
    MEDIA_TYPE,
    ManifestEntry,
    ManifestError,
    ManifestReader,
    stored,
)

_LONGEST_LINE = 64 * 1024


class ManifestUpload:
    """The body of a route: a manifest and contents, in a temporary folder."""

    def __init__(self, folder: Path, temporary_files: TemporaryFiles) -> None:
        self._temporary_files = temporary_files
        self._reader = ManifestReader()
        self._line = bytearray()  # the beginning of a line whose end has not come
        self._left = 0  # bytes of the current content that have not come
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._entry: ManifestEntry | None = None
        self._expected: Iterator[ManifestEntry] | None = None
        self._size = 0
        self._path, self._contents = folder / "manifest", folder / "contents"
        self._contents.mkdir()
        self._manifest: IO[bytes] = self._path.open("xb")

    @property
    def received(self) -> Received:
        return Received(self._path, self._contents, self._size)

    def feed(self, data: bytes) -> None:
        """The next bytes of the body. Blocking. Raises Refusal or ManifestError."""
        self._temporary_files.admit("an upload")
        rest = memoryview(data)
        while rest:
            rest = self._feed_line(rest) if self._expected is None else self._feed_content(rest)

    def end(self) -> None:
        """The body is complete. Blocking. Raises ManifestError."""
        if self._expected is None:
            raise ManifestError("the manifest has no end, which is an empty line")
        if self._entry is not None:
            raise ManifestError(f"the content of {self._entry.path!r} is incomplete")

    def close(self) -> None:
        for file in (self._manifest, self._file):
            if file is not None:
                file.close()

    def _feed_line(self, data: memoryview) -> memoryview:
        part, end, _ = bytes(data[:_LONGEST_LINE]).partition(b"\n")
        self._line += part
        if len(self._line) > _LONGEST_LINE:
            raise ManifestError(f"a line of the manifest is longer than {_LONGEST_LINE:,} bytes")
        if end:
            line = bytes(self._line)
            self._line.clear()
            self._end_line(line)
        return data[len(part) + len(end) :]

    def _end_line(self, line: bytes) -> None:
        if line:
            self._reader.read(line)
            self._manifest.write(line + b"\n")
            return
        self._manifest.close()
        self._manifest = self._path.open("rb")
        self._expected = (entry for entry in stored(self._manifest) if entry.sent)
        self._begin_next()

    def _feed_content(self, data: memoryview) -> memoryview:
        if self._file is None:
            raise ManifestError("there are bytes after the last content")
        piece = data[: self._left]
        self._file.write(piece)
        self._hash.update(piece)
        self._left -= len(piece)
        self._size += len(piece)
        if not self._left:
            self._end_content()
        return data[len(piece) :]

    def _begin_next(self) -> None:
        """Opens the file of the next content; those of no bytes are complete at once."""
        assert self._expected is not None
        self._entry = next(self._expected, None)
        if self._entry is not None:
            try:
                self._file = (self._contents / self._entry.sha256).open("xb")
            except FileExistsError:
                text = f"the content of {self._entry.path!r} comes twice"
                raise ManifestError(text) from None
            self._hash, self._left = hashlib.sha256(), self._entry.size
            if not self._left:
                self._end_content()

    def _end_content(self) -> None:
        assert self._file is not None
        assert self._entry is not None
        self._file.close()
        self._file = None
        if self._hash.hexdigest() != self._entry.sha256:
            raise ManifestError(
                f"the content of {self._entry.path!r} does not have its sha256: the file has "
                "changed while it was sent"
            )
        self._begin_next()


@asynccontextmanager
async def manifest_upload_of(
    request: Request, temporary_files: TemporaryFiles
) -> AsyncIterator[ManifestUpload]:
    """The body of the running request, while the block runs. Raises Refusal."""
    if request.mimetype != MEDIA_TYPE:
        raise Refusal("request.media", f"{request.mimetype or 'the body'} is not {MEDIA_TYPE}")
    folder = await trio.to_thread.run_sync(temporary_files.folder)
    try:
        upload = await trio.to_thread.run_sync(ManifestUpload, folder, temporary_files)
        try:
            await _receive(request, upload)
        finally:
            upload.close()
        yield upload
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(temporary_files.remove, folder)


async def _receive(request: Request, upload: ManifestUpload) -> None:
    received, most = 0, request.max_content_length
    assert isinstance(request.body, StreamedBody)
    try:
        async for data in request.body:
            received += len(data)
            if most is not None and received > most:
                raise RequestEntityTooLarge
            await trio.to_thread.run_sync(upload.feed, data)
        await trio.to_thread.run_sync(upload.end)
    except ManifestError as error:
        request.body.drop()
        raise Refusal("argument.invalid", str(error)) from error
    except BaseException:
        request.body.drop()
        raise
